#pragma once

#include <qsketch/concepts.hpp>
#include <qsketch/detail/image.hpp>
#include <qsketch/tdigest.hpp>
#include <qsketch/top_k.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

namespace qsketch_server {

/// What is kept of the samples of one key in one slot of time: how their values are distributed and which are frequent.
/// Up to max_plain values are simply kept, which is exact and, in the many slots that see a few samples only, smaller
/// than any sketch; beyond that a t-digest and a top-k take over, and up to max_plain values wait to be put into them.
class sample_sketch {
public:
    static constexpr double compression = 100;
    /// How many values top() can name. It has 24 times as many counters: up to 768 distinct values are counted exactly.
    /// Asserted by sample_sketch.test.cpp.
    static constexpr std::uint32_t top_size = 32;
    /// 2 KB, well below what digest and top take.
    static constexpr std::size_t max_plain = 256;

    /// Throws std::invalid_argument unless the value is finite.
    void add(double value) { add(std::span<const double>(&value, 1)); }

    /// All or nothing: throws std::invalid_argument if one of the values is not finite.
    void add(std::span<const double> values) {
        if (!std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); }))
            throw std::invalid_argument("sample_sketch: values must be finite");
        if (plain_.size() + values.size() <= max_plain) {
            plain_.insert(plain_.end(), values.begin(), values.end());
            return;
        }
        summary grown = summarized();
        grown.digest.add(values);
        grown.top.add(values);
        keep(grown);
    }

    void merge(const sample_sketch& other) {
        const sample_sketch* const others[] = {&other};
        merge(std::span<const sample_sketch* const>(others));
    }

    /// Any number of sketches in one pass.
    void merge(std::span<const sample_sketch* const> others) {
        std::vector<const qsketch::tdigest<>*> digests;
        std::vector<double> values;
        for (const sample_sketch* other : others) {
            if (!other->summary_.empty()) digests.push_back(&other->summary_.front().digest);
            values.insert(values.end(), other->plain_.begin(), other->plain_.end());
        }
        if (digests.empty() && summary_.empty() && plain_.size() + values.size() <= max_plain) {
            plain_.insert(plain_.end(), values.begin(), values.end());
            return;
        }
        summary merged = summarized();
        merged.digest.merge(std::span<const qsketch::tdigest<>* const>(digests));
        for (const sample_sketch* other : others)
            if (!other->summary_.empty()) merged.top.merge(other->summary_.front().top);
        merged.digest.add(values);
        merged.top.add(values);
        keep(merged);
    }

    [[nodiscard]] qsketch::tdigest<> digest() const { return summarized().digest; }
    [[nodiscard]] qsketch::top_k<double> top() const { return summarized().top; }

    [[nodiscard]] std::uint64_t count() const noexcept {
        return plain_.size() + (summary_.empty() ? 0 : summary_.front().digest.count());
    }
    [[nodiscard]] bool empty() const noexcept { return count() == 0; }
    [[nodiscard]] bool compatible(const sample_sketch&) const noexcept { return true; }
    void clear() noexcept {
        plain_.clear();
        summary_.clear();
    }

    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        std::size_t bytes = sizeof *this + plain_.capacity() * sizeof(double);
        for (const summary& s : summary_) bytes += s.digest.memory_bytes() + s.top.memory_bytes();
        return bytes;
    }

    friend bool operator==(const sample_sketch& a, const sample_sketch& b) {
        if (a.summary_.empty() || b.summary_.empty())
            return a.summary_.empty() && b.summary_.empty() && a.plain_ == b.plain_;
        return a.count() == b.count() && a.summarized() == b.summarized();
    }

    /// Body: u64 number of plain values and those; or u64 2^64 - 1, u64 size and image of the digest, image of the top.
    [[nodiscard]] std::vector<std::byte> serialize() const {
        qsketch::detail::image_writer out(kind, {}, 8 + 8 * plain_.size());
        if (summary_.empty()) {
            out.put(static_cast<std::uint64_t>(plain_.size()));
            for (const double value : plain_) out.put(value);
        } else {
            const summary all = summarized();
            const auto digest = all.digest.serialize();
            const auto top = all.top.serialize();
            out.put(summarized_mark);
            out.put(static_cast<std::uint64_t>(digest.size()));
            out.put(std::span<const std::byte>(digest));
            out.put(std::span<const std::byte>(top));
        }
        return std::move(out).finish();
    }

    /// Throws qsketch::format_error for anything that serialize() cannot have written.
    [[nodiscard]] static sample_sketch deserialize(std::span<const std::byte> image) {
        qsketch::detail::image_reader in(image, kind, "sample_sketch");
        sample_sketch out;
        const auto plain = in.take<std::uint64_t>();
        if (plain == summarized_mark) {
            const auto size = in.take<std::uint64_t>();
            in.require(size <= in.remaining(), "is truncated inside the digest");
            auto digest = qsketch::tdigest<>::deserialize(in.take_bytes(static_cast<std::size_t>(size)));
            auto top = qsketch::top_k<double>::deserialize(in.take_bytes(in.remaining()));
            in.require(digest.count() == top.total(), "counts differ");
            in.require(digest.count() > max_plain, "summarizes so few values");
            in.require(top.n() == top_size, "has a top of another size");
            out.summary_.push_back({std::move(digest), std::move(top)});
        } else {
            in.require(plain <= max_plain && in.remaining() == plain * sizeof(double), "has another number of values");
            for (std::uint64_t i = 0; i < plain; ++i) {
                out.plain_.push_back(in.take_double());
                in.require(std::isfinite(out.plain_.back()), "has a value that is not finite");
            }
        }
        return out;
    }

private:
    static constexpr auto kind = static_cast<qsketch::detail::image_kind>(128); // the library's own kinds are below
    static constexpr std::uint64_t summarized_mark = ~std::uint64_t{0};

    struct summary {
        qsketch::tdigest<> digest{compression};
        qsketch::top_k<double> top{top_size};
        friend bool operator==(const summary&, const summary&) = default;
    };

    /// All values; those that waited are left in the digest's buffer.
    [[nodiscard]] summary summarized() const {
        summary s = summary_.empty() ? summary() : summary_.front();
        s.digest.add(plain_);
        s.top.add(plain_);
        return s;
    }

    /// In place of everything, in little memory: merged, a digest leaves its buffer behind and, other than flushed,
    /// prepares no answers, and a top's table fits its counters; copied, vectors have no spare room.
    void keep(const summary& all) {
        summary merged;
        merged.digest.merge(all.digest);
        merged.top.merge(all.top);
        summary_ = std::vector<summary>(1, merged);
        plain_ = {};
    }

    std::vector<double> plain_;    // what the summary does not have yet
    std::vector<summary> summary_; // none or one
};

static_assert(qsketch::mergeable_sketch<sample_sketch>);

} // namespace qsketch_server
