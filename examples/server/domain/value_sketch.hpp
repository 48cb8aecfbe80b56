#pragma once

#include <qsketch/concepts.hpp>
#include <qsketch/detail/image.hpp>
#include <qsketch/tdigest.hpp>
#include <qsketch/top_k.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

namespace qsketch_server {

/// What is exact about any number of values.
struct value_totals {
    std::uint64_t count = 0;
    double sum = 0;
    double min = std::numeric_limits<double>::infinity();
    double max = -std::numeric_limits<double>::infinity();

    void add(std::span<const double> values) noexcept {
        for (const double x : values) {
            sum += x;
            min = (std::min)(min, x);
            max = (std::max)(max, x);
        }
        count += values.size();
    }
    void merge(const value_totals& other) noexcept {
        count += other.count;
        sum += other.sum;
        min = (std::min)(min, other.min);
        max = (std::max)(max, other.max);
    }
};

/// What a value_sketch keeps beside the distribution: nothing.
struct no_frequencies {
    static constexpr std::uint8_t kind = 129;

    void add(std::span<const double>) noexcept {}
    void add(std::span<const qsketch::tdigest<>::centroid>) noexcept {}
    void merge(const no_frequencies&) noexcept {}
    [[nodiscard]] bool counted(std::uint64_t) const noexcept { return true; }
    void compact() const noexcept {}
    [[nodiscard]] std::size_t memory_bytes() const noexcept { return 0; }
    void write(qsketch::detail::image_writer&) const noexcept {}
    [[nodiscard]] static no_frequencies read(qsketch::detail::image_reader&) noexcept { return {}; }
    friend bool operator==(const no_frequencies&, const no_frequencies&) = default;
};

/// What a value_sketch keeps beside the distribution: which values are frequent.
class value_frequencies {
public:
    static constexpr std::uint8_t kind = 128;
    /// How many values items() can name. It has 24 times as many counters: up to 384 distinct values are counted
    /// exactly. Asserted by value_sketch.test.cpp.
    static constexpr std::uint32_t top_size = 16;

    void add(std::span<const double> values) { top_.add(values); }
    /// Of values that a digest has summed up nobody knows which they are: any may have come so much more often.
    void add(std::span<const qsketch::tdigest<>::centroid> centroids) {
        for (const auto& c : centroids)
            if (c.exact)
                top_.add(c.mean, c.weight);
            else
                unknown_ += c.weight;
    }
    void merge(const value_frequencies& other) {
        top_.merge(other.top_);
        unknown_ += other.unknown_;
    }

    /// The value came at least, and at most so often.
    [[nodiscard]] std::uint64_t lower(double value) const noexcept { return top_.lower(value); }
    [[nodiscard]] std::uint64_t upper(double value) const noexcept { return top_.upper(value) + unknown_; }
    /// At most top_size of them, by descending upper bound.
    [[nodiscard]] std::vector<qsketch::top_k<double>::item> items() const {
        auto items = top_.items();
        for (auto& item : items) item.upper += unknown_;
        return items;
    }
    [[nodiscard]] std::uint64_t error() const noexcept { return top_.error() + unknown_; }
    [[nodiscard]] std::uint64_t count() const noexcept { return top_.total() + unknown_; }

    /// Are these the frequencies of so many values?
    [[nodiscard]] bool counted(std::uint64_t values) const noexcept { return count() == values; }
    [[nodiscard]] std::size_t memory_bytes() const noexcept { return top_.memory_bytes() - sizeof top_; }
    void compact() { top_.compact(); }

    void write(qsketch::detail::image_writer& out) const {
        out.put(unknown_);
        out.put(std::span<const std::byte>(top_.serialize()));
    }
    [[nodiscard]] static value_frequencies read(qsketch::detail::image_reader& in) {
        value_frequencies out;
        out.unknown_ = in.take<std::uint64_t>();
        out.top_ = qsketch::top_k<double>::deserialize(in.take_bytes(in.remaining()));
        in.require(out.top_.n() == top_size, "has a top of another size");
        in.require(out.unknown_ <= ~out.top_.total(), "counts too many values");
        return out;
    }
    friend bool operator==(const value_frequencies&, const value_frequencies&) = default;

private:
    qsketch::top_k<double> top_{top_size};
    std::uint64_t unknown_ = 0;
};

/// What is kept of the values of one series in one interval of time: how they are distributed, and what Frequencies
/// keeps beside that.
/// Up to max_plain values are simply kept, which is exact and, in the many intervals that see a few values only,
/// smaller than any sketch; beyond that a t-digest takes over, and up to max_plain values wait to be put into it.
template <class Frequencies>
class value_sketch {
public:
    using digest_type = qsketch::tdigest<>;

    static constexpr double compression = 100;
    /// 4 KB; a digest and its frequencies take up to 6.
    static constexpr std::size_t max_plain = 512;
    /// After compact(): queries merge many intervals, and summaries sooner than more values.
    static constexpr std::size_t max_plain_compact = 256;

    /// Throws std::invalid_argument unless the value is finite.
    void add(double value) { add(std::span<const double>(&value, 1)); }

    /// All or nothing: throws std::invalid_argument if one of the values is not finite.
    void add(std::span<const double> values) {
        if (!std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); }))
            throw std::invalid_argument("value_sketch: values must be finite");
        if (plain_.size() + values.size() <= max_plain) {
            if (!summary_.empty()) plain_.reserve(max_plain); // as many come again
            plain_.insert(plain_.end(), values.begin(), values.end());
            return;
        }
        summary grown = summarized();
        grown.digest.add(values);
        grown.frequencies.add(values);
        keep(grown);
    }

    /// Adds the values of a digest from elsewhere, as exactly as it knows them.
    /// Throws incompatible_error, with nothing added, if the count would exceed the digest's.
    void add(const digest_type& digest) {
        const auto centroids = digest.centroids();
        const bool known = std::all_of(centroids.begin(), centroids.end(), [](const auto& c) { return c.exact; });
        if (known && digest.count() + plain_.size() <= max_plain) {
            for (const auto& c : centroids) plain_.insert(plain_.end(), static_cast<std::size_t>(c.weight), c.mean);
            return;
        }
        summary grown = summarized();
        grown.digest.merge(digest);
        grown.frequencies.add(centroids);
        keep(grown);
    }

    void add(const value_sketch& other) { merge(other); }

    void merge(const value_sketch& other) {
        const value_sketch* const others[] = {&other};
        merge(std::span<const value_sketch* const>(others));
    }

    /// Any number of sketches in one pass.
    void merge(std::span<const value_sketch* const> others) {
        const std::vector<const digest_type*> digests = digests_in(others);
        std::vector<double> values;
        for (const value_sketch* other : others)
            values.insert(values.end(), other->plain_.begin(), other->plain_.end());
        if (digests.empty() && plain_.size() + values.size() <= max_plain) {
            plain_.insert(plain_.end(), values.begin(), values.end());
            return;
        }
        if (empty() && others.size() == 1) {
            *this = *others.front();
            return;
        }
        summary merged = summarized();
        merged.digest.merge(digests);
        for (const value_sketch* other : others)
            if (!other->summary_.empty()) merged.frequencies.merge(other->summary_.front().frequencies);
        merged.digest.add(values);
        merged.frequencies.add(values);
        keep(merged);
    }

    [[nodiscard]] digest_type digest() const {
        const value_sketch* const self[] = {this};
        return digest_of(self);
    }
    [[nodiscard]] Frequencies frequencies() const {
        const value_sketch* const self[] = {this};
        return frequencies_of(self);
    }

    /// Of all parts and values together. To merge the sketches first takes several times as long.
    [[nodiscard]] static digest_type digest_of(std::span<const value_sketch* const> parts,
                                               std::span<const double> values = {}) {
        digest_type out(compression);
        out.merge(digests_in(parts));
        for (const value_sketch* part : parts) out.add(part->plain_);
        out.add(values);
        return out;
    }
    [[nodiscard]] static Frequencies frequencies_of(std::span<const value_sketch* const> parts,
                                                    std::span<const double> values = {}) {
        Frequencies out;
        for (const value_sketch* part : parts)
            if (!part->summary_.empty()) out.merge(part->summary_.front().frequencies);
        for (const value_sketch* part : parts) out.add(part->plain_);
        out.add(values);
        return out;
    }

    [[nodiscard]] value_totals totals() const noexcept {
        value_totals out;
        if (!summary_.empty()) {
            const digest_type& d = summary_.front().digest;
            out = {d.count(), d.sum(), (d.min)(), (d.max)()};
        }
        out.add(plain_);
        return out;
    }
    [[nodiscard]] std::uint64_t count() const noexcept {
        return plain_.size() + (summary_.empty() ? 0 : summary_.front().digest.count());
    }
    [[nodiscard]] bool empty() const noexcept { return count() == 0; }
    [[nodiscard]] bool compatible(const value_sketch&) const noexcept { return true; }
    void clear() noexcept {
        plain_.clear();
        summary_.clear();
    }

    /// Gives back what memory can be done without while little is added. What waits is summed up, too.
    void compact() {
        if (summary_.empty() && plain_.size() <= max_plain_compact) {
            plain_ = std::vector<double>(plain_);
            return;
        }
        summary all = summarized();
        all.digest.compact();
        all.frequencies.compact();
        replace(std::move(all));
        plain_ = std::vector<double>();
    }

    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        std::size_t bytes = sizeof *this + plain_.capacity() * sizeof(double);
        for (const summary& s : summary_)
            bytes += s.digest.memory_bytes() + sizeof s - sizeof s.digest + s.frequencies.memory_bytes();
        return bytes;
    }

    /// Also in which values wait: equal sketches go on alike.
    friend bool operator==(const value_sketch&, const value_sketch&) = default;

    /// Body: u16 number of plain values, those; if there is a summary, u32 size and image of the digest, and what
    /// Frequencies writes.
    [[nodiscard]] std::vector<std::byte> serialize() const {
        qsketch::detail::image_writer out(image_kind, {}, 2 + 8 * plain_.size());
        out.put(static_cast<std::uint16_t>(plain_.size()));
        for (const double value : plain_) out.put(value);
        for (const summary& s : summary_) {
            const auto digest = s.digest.serialize();
            out.put(static_cast<std::uint32_t>(digest.size()));
            out.put(std::span<const std::byte>(digest));
            s.frequencies.write(out);
        }
        return std::move(out).finish();
    }

    /// Throws qsketch::format_error for anything that serialize() cannot have written.
    [[nodiscard]] static value_sketch deserialize(std::span<const std::byte> image) {
        qsketch::detail::image_reader in(image, image_kind, "value_sketch");
        value_sketch out;
        const std::size_t plain = in.take<std::uint16_t>();
        in.require(plain <= max_plain, "has too many plain values");
        in.require(in.remaining() >= plain * sizeof(double), "is truncated inside the plain values");
        out.plain_.reserve(plain);
        for (std::size_t i = 0; i < plain; ++i) {
            out.plain_.push_back(in.take_double());
            in.require(std::isfinite(out.plain_.back()), "has a value that is not finite");
        }
        if (in.remaining() > 0) {
            const auto size = in.take<std::uint32_t>();
            summary s;
            s.digest = digest_type::deserialize(in.take_bytes(size));
            s.frequencies = Frequencies::read(in);
            in.require(!s.digest.empty(), "has an empty summary");
            in.require(s.digest.compression() == compression, "has a digest of another compression");
            in.require(s.frequencies.counted(s.digest.count()), "has counts that differ");
            out.summary_.push_back(std::move(s));
        }
        in.expect_end();
        return out;
    }

private:
    // The library's own kinds are below 128.
    static constexpr auto image_kind = static_cast<qsketch::detail::image_kind>(Frequencies::kind);

    struct summary {
        digest_type digest{compression};
        Frequencies frequencies;
        friend bool operator==(const summary&, const summary&) = default;
    };

    [[nodiscard]] static std::vector<const digest_type*> digests_in(std::span<const value_sketch* const> parts) {
        std::vector<const digest_type*> out;
        for (const value_sketch* part : parts)
            if (!part->summary_.empty()) out.push_back(&part->summary_.front().digest);
        return out;
    }

    /// All values; those that waited are left in the digest's buffer.
    [[nodiscard]] summary summarized() const {
        summary s = summary_.empty() ? summary() : summary_.front();
        s.digest.add(plain_);
        s.frequencies.add(plain_);
        return s;
    }

    /// In place of everything, in little memory: merged, a digest leaves its buffer behind and, other than flushed,
    /// prepares no answers.
    void keep(summary& all) {
        summary merged;
        merged.digest.merge(all.digest);
        all.frequencies.compact();
        merged.frequencies = std::move(all.frequencies);
        replace(std::move(merged));
        plain_.clear(); // as many come again
    }

    void replace(summary&& all) {
        summary_.resize(1);
        summary_.front() = std::move(all);
    }

    std::vector<double> plain_;    // what the summary does not have yet
    std::vector<summary> summary_; // none or one
};

/// Of the samples of a key (family B).
using sample_sketch = value_sketch<value_frequencies>;
/// Of the values of a metric's series (family D).
using metric_sketch = value_sketch<no_frequencies>;

static_assert(qsketch::mergeable_sketch<sample_sketch>);
static_assert(qsketch::mergeable_sketch<metric_sketch>);

} // namespace qsketch_server
