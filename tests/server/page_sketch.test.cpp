#include "domain/page_sketch.hpp"

#include "support/catch.hpp"

#include <cmath>
#include <string>
#include <vector>

using qsketch_server::page_sketch;

namespace {

/// Views number `from` up to `to` of a site of `pages` pages: view i is of page i % pages by visitor i / 3.
page_sketch of(int from, int to, int pages) {
    page_sketch s;
    for (int i = from; i < to; ++i) {
        s.add({"/page/" + std::to_string(i % pages), static_cast<std::uint32_t>(i / 3)});
    }
    return s;
}

} // namespace

TEST_CASE("Up to 2400 pages are counted exactly, of which 100 can be named, and visitors but for a few") {
    const page_sketch s = of(0, 9000, 2400);
    CHECK(s.pages().total() == 9000);
    CHECK(s.pages().error() == 0);
    CHECK(s.pages().lower("/page/7") == 4);
    CHECK(s.pages().upper("/page/2399") == 3);
    CHECK(s.pages().items().size() == page_sketch::top_size);
    CHECK(std::abs(s.visitors().estimate() - 3000) <= 1);
    CHECK(of(0, 2401, 2401).pages().error() > 0);
}

TEST_CASE("Merging pages gives the counts of both, as adding them did") {
    page_sketch sum = of(0, 500, 90);
    sum.merge(of(500, 800, 90));
    CHECK(sum == of(0, 800, 90));
    page_sketch slot;
    slot.add(of(0, 800, 90));
    CHECK(slot == sum);
    sum.merge(page_sketch());
    CHECK(slot == sum);
    CHECK(page_sketch().empty());
    CHECK_FALSE(sum.empty());
    sum.clear();
    CHECK(sum == page_sketch());
    page_sketch visitor_only;
    visitor_only.add({std::nullopt, 1u});
    CHECK_FALSE(visitor_only.empty());
    page_sketch page_only;
    page_only.add({"/", std::nullopt});
    CHECK_FALSE(page_only.empty());
    CHECK(page_only != visitor_only);
}

TEST_CASE("The image of pages survives the round trip, and every other one is refused") {
    for (const int n : {0, 1, 400, 20'000}) {
        const page_sketch s = of(0, n, 3000);
        const auto image = s.serialize();
        CHECK(page_sketch::deserialize(image) == s);
        CHECK(page_sketch::deserialize(image).serialize() == image);
    }
    const auto image = of(0, 40, 9).serialize();
    for (std::size_t i = 0; i < image.size(); ++i) {
        auto broken = image;
        broken[i] ^= std::byte{0x10};
        CHECK_THROWS_AS(page_sketch::deserialize(broken), qsketch::format_error);
        CHECK_THROWS_AS(page_sketch::deserialize(std::span(image).first(i)), qsketch::format_error);
    }
}

namespace {

/// A well framed image with any parts.
std::vector<std::byte> image_of(const std::vector<std::byte>& pages, const std::vector<std::byte>& visitors,
                                std::uint64_t announced, std::uint8_t option = 0) {
    qsketch::detail::image_writer out(static_cast<qsketch::detail::image_kind>(130), {option, 0, 0}, 0);
    out.put(announced);
    out.put(std::span<const std::byte>(pages));
    out.put(std::span<const std::byte>(visitors));
    return std::move(out).finish();
}

} // namespace

TEST_CASE("An image of other parts than pages have is refused though its frame is right") {
    const auto pages = qsketch::top_k<>(page_sketch::top_size).serialize();
    const auto visitors = qsketch::hyperloglog<std::uint32_t>(page_sketch::precision).serialize();
    const auto few = qsketch::top_k<>(5).serialize();
    const auto coarse = qsketch::hyperloglog<std::uint32_t>(12).serialize();
    CHECK(page_sketch::deserialize(image_of(pages, visitors, pages.size())) == page_sketch());
    for (const auto& bad : {image_of(few, visitors, few.size()), image_of(pages, coarse, pages.size()),
                            image_of(pages, visitors, pages.size() + 1), image_of(pages, visitors, ~std::uint64_t{0}),
                            image_of(pages, {}, pages.size()), image_of(visitors, pages, visitors.size()),
                            image_of(pages, visitors, pages.size(), 1)})
        CHECK_THROWS_AS(page_sketch::deserialize(bad), qsketch::format_error);
}
