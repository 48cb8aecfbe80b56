#pragma once

#include <qsketch/concepts.hpp>
#include <qsketch/detail/image.hpp>
#include <qsketch/hyperloglog.hpp>
#include <qsketch/top_k.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace qsketch_server {

/// What a view adds to the pages of its time: a page, a visitor, or both.
struct page_addition {
    std::optional<std::string> page;
    std::optional<std::uint32_t> visitor;
};

/// Which pages were viewed in one slot of time, how often, and by how many visitors.
class page_sketch {
public:
    /// How many pages pages() can name. It has 24 times as many counters: up to 2400 different pages are counted
    /// exactly. Asserted by page_sketch.test.cpp.
    static constexpr std::uint32_t top_size = 100;
    /// 16 KB at most, a standard error of 0.81 %; all but exact up to 3072 visitors.
    static constexpr unsigned precision = 14;

    /// Throws std::invalid_argument for a page of more than 2^20 bytes.
    void add(const page_addition& a) {
        if (a.page) pages_.add(*a.page);
        if (a.visitor) visitors_.add(*a.visitor);
    }
    /// merge(), by the name that qsketch::sliding_window fills its slots with.
    void add(const page_sketch& other) { merge(other); }

    [[nodiscard]] const qsketch::top_k<>& pages() const noexcept { return pages_; }
    [[nodiscard]] const qsketch::hyperloglog<std::uint32_t>& visitors() const noexcept { return visitors_; }

    void merge(const page_sketch& other) {
        auto visitors = visitors_;
        visitors.merge(other.visitors_);
        pages_.merge(other.pages_);
        visitors_ = std::move(visitors);
    }

    [[nodiscard]] bool empty() const noexcept { return pages_.empty() && visitors_.empty(); }
    [[nodiscard]] bool compatible(const page_sketch&) const noexcept { return true; }
    void clear() noexcept {
        pages_.clear();
        visitors_.clear();
    }
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return sizeof *this + pages_.memory_bytes() - sizeof pages_ + visitors_.memory_bytes() - sizeof visitors_;
    }
    friend bool operator==(const page_sketch&, const page_sketch&) = default;

    /// Body: u64 size and image of the pages, image of the visitors.
    [[nodiscard]] std::vector<std::byte> serialize() const {
        const auto pages = pages_.serialize();
        const auto visitors = visitors_.serialize();
        qsketch::detail::image_writer out(kind, {}, 8 + pages.size() + visitors.size());
        out.put(static_cast<std::uint64_t>(pages.size()));
        out.put(std::span<const std::byte>(pages));
        out.put(std::span<const std::byte>(visitors));
        return std::move(out).finish();
    }

    /// Throws qsketch::format_error for anything that serialize() cannot have written.
    [[nodiscard]] static page_sketch deserialize(std::span<const std::byte> image) {
        qsketch::detail::image_reader in(image, kind, "page_sketch");
        in.require(in.options() == qsketch::detail::image_options{}, "has option bytes that are not zero");
        const auto size = in.take<std::uint64_t>();
        in.require(size <= in.remaining(), "is truncated inside the pages");
        page_sketch out;
        out.pages_ = qsketch::top_k<>::deserialize(in.take_bytes(static_cast<std::size_t>(size)));
        out.visitors_ = qsketch::hyperloglog<std::uint32_t>::deserialize(in.take_bytes(in.remaining()));
        in.require(out.pages_.n() == top_size, "has a top of another size");
        in.require(out.visitors_.precision() == precision, "has visitors of another precision");
        return out;
    }

private:
    static constexpr auto kind = static_cast<qsketch::detail::image_kind>(130); // the library's own kinds are below 128

    qsketch::top_k<> pages_{top_size};
    qsketch::hyperloglog<std::uint32_t> visitors_{precision};
};

static_assert(qsketch::mergeable_sketch<page_sketch>);

} // namespace qsketch_server
