#include "api/samples.hpp"
#include "application.hpp"
#include "domain/text.hpp"
#include "routes.hpp"

#include <qsketch/error.hpp>
#include <qsketch/scale.hpp>
#include <qsketch/tdigest.hpp>

#include <fmt/format.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

// Sketches as bytes, for processes that embed the library and send what they have summarized.
namespace qsketch_server {
namespace {

constexpr std::string_view octets = "application/octet-stream";
constexpr std::uint64_t max_count = std::uint64_t{1} << 40;
// Half of what a digest can count: the rest is for single samples, and for sketches that come at the same time.
constexpr std::uint64_t max_held = std::uint64_t{1} << 52;

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

/// Who sends a state of its own, and which.
struct sender {
    std::string node;
    std::uint64_t incarnation;
    std::uint64_t sequence;
};

[[nodiscard]] std::optional<sender> sender_of(const request& rq) {
    constexpr std::size_t most = sample_table::replicas::max_node_size;
    constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();
    const std::string* const node = rq.parameter("node");
    for (const std::string_view name : {"incarnation", "sequence"})
        if (node == nullptr && rq.parameter(name) != nullptr)
            throw invalid_fields(problem{"node", fmt::format("is required with {}", name)});
    if (node == nullptr) return {};
    if (node->empty() || node->size() > most || !is_utf8(*node) || has_control_characters(*node))
        throw invalid_fields(problem{"node", fmt::format("must be 1 to {} bytes of UTF-8 without control characters, "
                                                         "got {}",
                                                         most, in_quotes(*node))});
    // What is sent again has to find what was sent before.
    if (rq.parameter("timestamp") == nullptr) throw invalid_fields(problem{"timestamp", "is required with node"});
    const auto number = [&](std::string_view name) {
        return static_cast<std::uint64_t>(whole_number(name, rq.required(name), 0, largest));
    };
    return sender{*node, number("incarnation"), number("sequence")};
}

/// A query adds up whatever the key holds.
void require_countable(application& app, const request& rq, std::uint64_t added) {
    const acceptable_times times = app.sample_times();
    const auto length = std::chrono::ceil<std::chrono::seconds>(times.newest - times.oldest);
    const auto held = app.samples.query(rq.path_rest, length, times.newest);
    if (held && held->digest.count() > max_held - added)
        throw refused_request(409, fmt::format("the key must hold at most {} values, and has {}, got {} more", max_held,
                                               held->digest.count(), added));
}

/// False if there is no room for the key.
[[nodiscard]] bool stage_state(application& app, const request& rq, instant at, const sender& from,
                               const qsketch::tdigest<>& digest, changes& to) {
    if (!app.samples.has_room_for_state(rq.path_rest, at, from.node, from.incarnation))
        throw refused_request(409, fmt::format("incarnation: a second of a key has states of at most {} of them, got "
                                               "another: {} of {}",
                                               sample_table::max_states, from.incarnation, in_quotes(from.node)));
    try {
        return app.samples.stage_state(to, rq.path_rest, at, from.node, from.incarnation, from.sequence, digest);
    } catch (const qsketch::incompatible_error&) {
        throw refused_request(409, fmt::format("the sketch must be of compression {}, got {}",
                                               sample_sketch::compression, digest.compression()));
    }
}
[[nodiscard]] bool stage_values(application& app, const request& rq, instant at, const qsketch::tdigest<>& digest,
                                changes& to) {
    sample_sketch values;
    values.add(digest);
    return values.empty() || app.samples.stage(to, rq.path_rest, at, std::move(values));
}

} // namespace

answer get_sketch(application& app, const request& rq) {
    const auto image = samples_of(app, rq, rq.path_rest, &sample_table::query).digest.serialize();
    return {200, std::string(octets), std::string(reinterpret_cast<const char*>(image.data()), image.size()), {}};
}

answer put_sketch(application& app, const request& rq) {
    if (auto wrong = key_problem(rq.path_rest)) throw invalid_fields(*std::move(wrong));
    const std::optional<sender> from = sender_of(rq);
    const std::string* const timestamp = rq.parameter("timestamp");
    const instant at = timestamp == nullptr ? app.now() : time_in("timestamp", *timestamp, app.sample_times());
    const qsketch::tdigest<> digest = digest_of(rq);
    require_countable(app, rq, digest.count());
    changes merged;
    if (!(from ? stage_state(app, rq, at, *from, digest, merged) : stage_values(app, rq, at, digest, merged)))
        throw too_many_series(no_room(app));
    app.commit(rq, std::move(merged));
    return json_answer(200, fmt::format(R"({{"merged":{}}})", digest.count()));
}

} // namespace qsketch_server
