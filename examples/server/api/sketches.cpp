#include "api/samples.hpp"
#include "application.hpp"
#include "domain/text.hpp"
#include "routes.hpp"

#include <qsketch/error.hpp>
#include <qsketch/scale.hpp>
#include <qsketch/tdigest.hpp>

#include <fmt/format.h>

// Sketches as bytes, for processes that embed the library and send what they have summarized.
namespace qsketch_server {
namespace {

constexpr std::string_view octets = "application/octet-stream";
// A sum of such sketches stays within what a digest can count.
constexpr std::uint64_t max_count = std::uint64_t{1} << 40;

[[nodiscard]] bool is_of_another_scale(std::span<const std::byte> image) {
    try {
        (void)qsketch::tdigest<qsketch::k1_scale>::deserialize(image);
        return true;
    } catch (const qsketch::format_error&) {
        return false;
    }
}

[[nodiscard]] qsketch::tdigest<> digest_of(const request& rq) {
    if (rq.content_type != octets && !rq.content_type.empty())
        throw refused_request(415, fmt::format("the body must be {}, got {}", octets, in_quotes(rq.content_type)));
    const auto image = std::as_bytes(std::span(rq.body));
    try {
        auto digest = qsketch::tdigest<>::deserialize(image);
        if (digest.count() <= max_count) return digest;
        throw refused_request(
            409, fmt::format("the sketch must be of at most {} values, got {}", max_count, digest.count()));
    } catch (const qsketch::format_error& e) {
        if (is_of_another_scale(image)) throw refused_request(409, e.what());
        throw malformed_request(e.what());
    }
}

} // namespace

answer get_sketch(application& app, const request& rq) {
    const auto image = samples_of(app, rq, rq.path_rest).sketch.digest().serialize();
    return {200, std::string(octets), std::string(reinterpret_cast<const char*>(image.data()), image.size()), {}};
}

answer put_sketch(application& app, const request& rq) {
    if (auto wrong = key_problem(rq.path_rest)) throw invalid_fields(*std::move(wrong));
    const std::string* const timestamp = rq.parameter("timestamp");
    const instant at = timestamp == nullptr ? app.now() : time_in("timestamp", *timestamp, app.sample_times());
    const qsketch::tdigest<> digest = digest_of(rq);
    sample_sketch samples;
    samples.add(digest);
    changes merged;
    if (!samples.empty() && !app.samples.stage(merged, rq.path_rest, at, std::move(samples)))
        throw too_many_series(no_room(app));
    app.commit(rq, std::move(merged));
    return json_answer(200, fmt::format(R"({{"merged":{}}})", digest.count()));
}

} // namespace qsketch_server
