#pragma once

// The t-digests of others behind one interface. Those that CMake has not found are left out.

#include <DataSketches/tdigest.hpp>

#if __has_include(<tdigest.h>)
#include <tdigest.h>
#endif
#if __has_include(<folly/stats/TDigest.h>)
#include <folly/stats/TDigest.h>
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace rivals {

class datasketches_digest {
public:
    static constexpr const char* name = "DataSketches";
    static constexpr const char* full_name = "DataSketches tdigest";

    explicit datasketches_digest(int k) : digest_(static_cast<std::uint16_t>(k)) {}

    void add(std::span<const double> values) {
        for (const double x : values) digest_.update(x);
    }
    void flush() { digest_.compress(); }
    void merge(const datasketches_digest& other) { digest_.merge(other.digest_); }
    [[nodiscard]] double quantile(double q) const { return digest_.get_quantile(q); }
    [[nodiscard]] double cdf(double x) const { return digest_.get_rank(x); }
    [[nodiscard]] std::size_t bytes() const { return digest_.serialize().size(); }

    [[nodiscard]] const datasketches::tdigest<double>& get() const { return digest_; }

private:
    datasketches::tdigest<double> digest_;
};

/// What a digest without a serialized form of its own would take: a mean and a weight for each centroid, and five more
/// numbers.
[[nodiscard]] inline std::size_t bytes_of(std::size_t centroids) { return 16 * centroids + 40; }

#if __has_include(<tdigest.h>)
class tdigest_c {
public:
    static constexpr const char* name = "t-digest-c";
    static constexpr const char* full_name = "t-digest-c";

    explicit tdigest_c(int compression) : digest_(td_new(compression), td_free) {}
    tdigest_c(tdigest_c&&) = default;
    tdigest_c(const tdigest_c& other) : tdigest_c(td_compression(other.digest_.get())) {
        const auto& from = *other.digest_;
        const auto means = digest_->nodes_mean;
        const auto weights = digest_->nodes_weight;
        const auto size = from.merged_nodes + from.unmerged_nodes;
        std::copy_n(from.nodes_mean, size, means);
        std::copy_n(from.nodes_weight, size, weights);
        *digest_ = from;
        digest_->nodes_mean = means;
        digest_->nodes_weight = weights;
    }

    void add(std::span<const double> values) {
        for (const double x : values) td_add(digest_.get(), x, 1);
    }
    void flush() { td_compress(digest_.get()); }
    void merge(const tdigest_c& other) { td_merge(digest_.get(), other.digest_.get()); }
    [[nodiscard]] double quantile(double q) const { return td_quantile(digest_.get(), q); }
    [[nodiscard]] double cdf(double x) const { return td_cdf(digest_.get(), x); }
    [[nodiscard]] std::size_t bytes() const {
        return bytes_of(static_cast<std::size_t>(td_centroid_count(digest_.get())));
    }

private:
    std::unique_ptr<td_histogram_t, decltype(&td_free)> digest_;
};
#endif

#if __has_include(<folly/stats/TDigest.h>)
/// It takes values by the batch; its own estimators use a thousand of them, and so does this.
class folly_digest {
public:
    static constexpr const char* name = "folly";
    static constexpr const char* full_name = "folly TDigest";

    explicit folly_digest(int size) : digest_(static_cast<std::size_t>(size)) {}

    void add(std::span<const double> values) {
        while (!values.empty()) {
            const auto batch = values.first((std::min)(values.size(), folly::TDigest::kDefaultBufferSize));
            digest_ = digest_.merge(folly::Range<const double*>(batch.data(), batch.size()));
            values = values.subspan(batch.size());
        }
    }
    void flush() {}
    void merge(const folly_digest& other) { digest_ = folly::TDigest::merge(digest_, other.digest_); }
    [[nodiscard]] double quantile(double q) const { return digest_.estimateQuantile(q); }
    [[nodiscard]] double cdf(double x) const { return digest_.estimateCdf(x); }
    [[nodiscard]] std::size_t bytes() const { return bytes_of(digest_.getCentroids().size()); }

private:
    folly::TDigest digest_;
};
#endif

/// Calls with an empty digest of each, of that size in its own terms.
template <class Use>
void for_each_digest(int size, const Use& use) {
    use(datasketches_digest(size));
#if __has_include(<tdigest.h>)
    use(tdigest_c(size));
#endif
#if __has_include(<folly/stats/TDigest.h>)
    use(folly_digest(size));
#endif
}

} // namespace rivals
