#include "http/errors.hpp"

#include "domain/problem.hpp"
#include "http/repeats.hpp"
#include "http/request.hpp"
#include "storage/unreadable_row.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <new>

namespace qsketch_server {
namespace {

[[nodiscard]] std::string_view code_of(int status) noexcept {
    switch (status) {
    case 401:
    case 403:
        return "AUTH_ERROR";
    case 404:
        return "NOT_FOUND";
    case 405:
        return "METHOD_NOT_ALLOWED";
    case 413:
        return "PAYLOAD_TOO_LARGE";
    case 415:
        return "UNSUPPORTED_MEDIA_TYPE";
    case 429:
        return "CARDINALITY_LIMIT";
    case 501: // the request asks for what HTTP has and this server has not
    case 505:
        return "INVALID_REQUEST";
    case 503:
        return "OVERLOADED";
    default:
        return status < 500 ? "INVALID_REQUEST" : "INTERNAL_ERROR";
    }
}

} // namespace

answer error_answer(int status, std::string_view code, std::string_view message, error_style style,
                    std::string_view details) {
    const std::string text = json_string(message);
    answer out = json_answer(
        status, style == error_style::sentence
                    ? fmt::format(R"({{"error":{},"code":"{}","details":{}}})", text, code, details)
                    : fmt::format(R"({{"error":true,"code":"{}","message":{},"details":{}}})", code, text, details));
    out.error_code = code;
    if (status == 503) out.headers.emplace_back("Retry-After", "1");
    return out;
}

answer error_answer(int status, std::string_view message, error_style style, std::string_view details) {
    return error_answer(status, code_of(status), message, style, details);
}

namespace {

[[nodiscard]] answer fields_answer(int status, const invalid_fields& e, error_style style) {
    std::string fields;
    for (const problem& p : e.problems())
        fields += fmt::format(R"({}{{"field":{},"error":{}}})", fields.empty() ? "" : ",", json_string(p.field),
                              json_string(p.error));
    return error_answer(status, "VALIDATION_ERROR", e.what(), style, fmt::format(R"({{"fields":[{}]}})", fields));
}

} // namespace

answer exception_answer(const std::exception_ptr& thrown, const request& rq, error_style style) {
    std::string unexpected;
    try {
        std::rethrow_exception(thrown);
    } catch (const key_used_before& e) {
        return fields_answer(422, e, style);
    } catch (const invalid_fields& e) {
        return fields_answer(400, e, style);
    } catch (const malformed_request& e) {
        return error_answer(400, e.what(), style);
    } catch (const not_found& e) {
        return error_answer(404, e.what(), style);
    } catch (const too_many_series& e) {
        return error_answer(429, e.what(), style);
    } catch (const refused_request& e) {
        return error_answer(e.status(), e.what(), style);
    } catch (const unreadable_row& e) { // which may never be read again, so it is no 503
        return error_answer(500, "a row of the store cannot be read", style,
                            fmt::format(R"({{"request_id":{},"table":"{}","key":{}}})", json_string(rq.id),
                                        e.table_name(), json_string(e.key())));
    } catch (const storage_error&) { // the storage has logged what happened, once and not once a request
        return error_answer(503, "STORAGE_ERROR", "the store cannot be read or written at the moment", style, "{}");
    } catch (const std::bad_alloc&) {
        return error_answer(503, "out of memory", style);
    } catch (const std::exception& e) {
        unexpected = e.what();
    } catch (...) {
        unexpected = "an exception of unknown type";
    }
    spdlog::error("request {}: {} {}: {}", rq.id, rq.method, rq.path, unexpected);
    return error_answer(500, "internal error", style, fmt::format(R"({{"request_id":{}}})", json_string(rq.id)));
}

} // namespace qsketch_server
