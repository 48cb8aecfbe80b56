#include "support/generators.hpp"
#include "support/hostile.hpp"
#include "support/sketch_types.hpp"

#include "support/catch.hpp"

#include <qsketch/detail/image.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

using support::bytes;
using support::sketch_case;
using support::sketch_types;

namespace {

using digests = qsketch::replica_set<qsketch::tdigest<>>;

qsketch::tdigest<> digest_of(std::initializer_list<double> values) {
    qsketch::tdigest<> d;
    for (const double x : values) d.add(x);
    return d;
}

/// Five nodes that count and restart as one seed says, and tell each other as the network lets them.
template <class Sketch>
class cluster {
public:
    static constexpr std::size_t size = 5;

    explicit cluster(std::uint64_t seed) : work_(seed) {
        for (std::size_t i = 0; i < size; ++i) nodes_.push_back({set(sketch_case<Sketch>::make()), begin_life()});
    }

    /// Nothing is lost, late or twice.
    void run_without_faults() {
        for (int step = 0; step < steps; ++step) {
            const std::size_t i = act();
            for (auto& other : nodes_) other.known.merge(nodes_[i].known);
        }
    }

    void run_over(support::random_bits network) {
        struct message {
            std::size_t to;
            bytes image;
        };
        std::vector<message> under_way;
        const auto deliver = [&](std::size_t m) {
            nodes_[under_way[m].to].known.merge(set::deserialize(under_way[m].image));
        };
        for (int step = 0; step < steps; ++step) {
            const std::size_t acted = act();
            if (nodes_[acted].counting.sequence == 0 && network.below(2) == 0) {
                // The node lost its set too, after another one was given it, and what is sent to it meanwhile.
                nodes_[(acted + 1) % size].known.merge(nodes_[acted].known);
                nodes_[acted].known.clear();
                std::erase_if(under_way, [&](const message& m) { return m.to == acted; });
            }
            for (std::size_t from = 0; from < size; ++from) {
                if (network.below(3) != 0) continue;
                const std::size_t to = network.below(size);
                if (network.below(3) == 0) continue; // lost
                under_way.push_back({to, nodes_[from].known.serialize()});
            }
            while (!under_way.empty() && network.below(3) != 0) {
                const std::size_t m = network.below(under_way.size());
                deliver(m);
                if (network.below(3) == 0) continue; // and once more, later
                under_way.erase(under_way.begin() + static_cast<std::ptrdiff_t>(m));
            }
        }
        // At last everybody hears from everybody, and old messages still arrive.
        for (const auto& from : nodes_)
            for (std::size_t to = 0; to < size; ++to) under_way.push_back({to, from.known.serialize()});
        while (!under_way.empty()) {
            const std::size_t m = network.below(under_way.size());
            deliver(m);
            under_way.erase(under_way.begin() + static_cast<std::ptrdiff_t>(m));
        }
    }

    [[nodiscard]] const qsketch::replica_set<Sketch>& known_to(std::size_t i) const { return nodes_[i].known; }
    [[nodiscard]] int lives() const { return lives_; }

private:
    using set = qsketch::replica_set<Sketch>;
    static constexpr int steps = 150;
    struct life {
        std::uint64_t incarnation;
        std::uint64_t sequence;
        Sketch counted;
    };
    struct node {
        set known;
        life counting;
    };

    life begin_life() {
        ++lives_;
        return {work_(), 0, sketch_case<Sketch>::make()}; // in no order
    }

    /// A node, which is returned, starts again, or counts something and perhaps publishes it.
    std::size_t act() {
        const std::size_t i = work_.below(size);
        node& n = nodes_[i];
        if (work_.below(15) == 0) {
            publish(i);
            n.counting = begin_life();
            return i;
        }
        support::add(n.counting.counted, support::skewed_keys(work_.below(40), 5000, work_()));
        if (work_.below(3) > 0) publish(i);
        return i;
    }

    void publish(std::size_t i) {
        life& l = nodes_[i].counting;
        nodes_[i].known.put(std::string(1, static_cast<char>('a' + i)), l.incarnation, ++l.sequence, l.counted);
    }

    support::random_bits work_;
    int lives_ = 0;
    std::vector<node> nodes_;
};

template <class Set>
Set merged(Set a, const Set& b) {
    a.merge(b);
    return a;
}

/// The same bytes a set would write of these replicas, in this order, whether it could hold them or not.
template <class Sketch = qsketch::tdigest<>>
bytes image_of(const std::vector<typename qsketch::replica_set<Sketch>::replica>& replicas,
               const Sketch& prototype = Sketch()) {
    namespace detail = qsketch::detail;
    detail::image_writer out(detail::image_kind::replica_set, {}, 0);
    detail::put_nested(out, prototype);
    out.put(static_cast<std::uint64_t>(replicas.size()));
    for (const auto& r : replicas) {
        out.put(static_cast<std::uint8_t>(r.node.size()));
        out.put(std::as_bytes(std::span(r.node.data(), r.node.size())));
        out.put(r.incarnation);
        out.put(r.sequence);
        out.put(static_cast<std::uint64_t>(r.image.size()));
        out.put(std::span<const std::byte>(r.image));
    }
    return std::move(out).finish();
}

} // namespace

TEMPLATE_LIST_TEST_CASE("five nodes over a faulty network end where a faultless one does", "", sketch_types) {
    for (const std::uint64_t seed : {1u, 2u, 3u}) {
        cluster<TestType> faultless(seed);
        faultless.run_without_faults();
        REQUIRE(faultless.lives() > 8);
        const auto& expected = faultless.known_to(0);
        const auto fold = expected.fold().serialize();
        for (const std::uint64_t network : {10u, 20u}) {
            cluster<TestType> faulty(seed);
            faulty.run_over(support::random_bits(network + seed));
            for (std::size_t i = 0; i < faulty.size; ++i) {
                CHECK(faulty.known_to(i) == expected);
                CHECK(faulty.known_to(i).serialize() == expected.serialize());
                CHECK(faulty.known_to(i).fold().serialize() == fold);
            }
        }
    }
}

TEMPLATE_LIST_TEST_CASE("what is published last is all that was counted, once", "", sketch_types) {
    using traits = sketch_case<TestType>;
    qsketch::replica_set<TestType> known(traits::make());
    TestType whole = traits::make();
    for (std::uint64_t node = 0; node < 5; ++node) {
        TestType counted = traits::make();
        for (std::uint64_t sequence = 1; sequence < 6; ++sequence) {
            const auto events = support::skewed_keys(200, 50'000, node * 10 + sequence);
            support::add(counted, events);
            support::add(whole, events);
            known.put("node " + std::to_string(node), 1, sequence, counted);
            known = merged(known, known);
        }
    }
    const TestType fold = known.fold();
    if constexpr (traits::merge_adds_up) CHECK(fold == whole);
    // A set of sets, in which the nodes share places, keeps one of them.
    if constexpr (!support::told_by_case<TestType>) traits::require_close(fold, whole);
    traits::require_sane(fold);
}

TEST_CASE("states that are merged as they arrive count twice, replicas do not") {
    qsketch::tdigest<> counted;
    qsketch::tdigest<> naive;
    digests known;
    for (std::uint64_t sequence = 1; sequence <= 10; ++sequence) {
        counted.add(static_cast<double>(sequence));
        naive.merge(counted);
        known.put("a", 1, sequence, counted);
        known.put("a", 1, sequence, counted);
    }
    CHECK(naive.count() == 55);
    CHECK(known.fold().count() == 10);
    CHECK(known.fold().sum() == 55.0);
}

TEST_CASE("put takes the later state of a life, and every life") {
    digests known;
    const auto one = digest_of({1});
    const auto two = digest_of({1, 2});
    CHECK(known.put("a", 5, 1, one));
    CHECK(known.put("a", 5, 3, two));
    CHECK_FALSE(known.put("a", 5, 2, one)); // overtaken
    CHECK_FALSE(known.put("a", 5, 3, two)); // repeated
    CHECK(known.fold() == two);
    CHECK(known.put("a", 2, 9, one)); // an incarnation heard of later need not be greater
    CHECK(known.put("b", 5, 0, one));
    CHECK(known.fold().count() == 4);
    CHECK(known.nodes() == std::vector<std::string>{"a", "b"});
    REQUIRE(known.replicas().size() == 3);
    CHECK(known.replicas()[0].incarnation == 2);
    CHECK(known.replicas()[1].sequence == 3);
    CHECK(known.replicas()[1].state() == two);
    CHECK(known.put("a", 5, 4, digest_of({}))); // nothing is a state too, the last one counts
    CHECK(known.fold().count() == 2);
    CHECK_FALSE(known.empty());
    known.clear();
    CHECK(known.empty());
    CHECK(known == digests());
}

TEST_CASE("sets of the same replicas are equal in bytes, whatever the order") {
    const std::array names{"b", "a", "\xff", "ab", "\x01"};
    std::array<std::size_t, 5> order{0, 1, 2, 3, 4};
    digests first;
    for (const std::size_t i : order) first.put(names[i], i % 2, 1, digest_of({static_cast<double>(i)}));
    CHECK(first.nodes() == std::vector<std::string>{"\x01", "a", "ab", "b", "\xff"});
    do {
        digests other;
        for (const std::size_t i : order) {
            digests sent;
            sent.put(names[i], i % 2, 1, digest_of({static_cast<double>(i)}));
            other.merge(sent);
        }
        REQUIRE(other.serialize() == first.serialize());
        REQUIRE(other.fold().serialize() == first.fold().serialize());
    } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("of different states under one sequence the same one wins everywhere") {
    std::vector<qsketch::tdigest<>> variants{digest_of({}), digest_of({1}), digest_of({2}), digest_of({1, 2})};
    const auto greatest = *std::max_element(variants.begin(), variants.end(),
                                            [](const auto& a, const auto& b) { return a.serialize() < b.serialize(); });
    std::array<std::size_t, 4> order{0, 1, 2, 3};
    do {
        digests by_put;
        std::vector<digests> sets;
        for (const std::size_t i : order) {
            by_put.put("a", 1, 7, variants[i]);
            sets.emplace_back().put("a", 1, 7, variants[i]);
        }
        REQUIRE(by_put.fold() == greatest);
        REQUIRE(merged(merged(sets[0], sets[1]), merged(sets[2], sets[3])) == by_put);
        REQUIRE(merged(sets[3], merged(sets[2], merged(sets[1], sets[0]))) == by_put);
        REQUIRE(by_put.put("a", 1, 8, variants[0])); // a later one wins over any
    } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("nodes with no name or a long one are refused, and nothing changes") {
    digests known;
    known.put("a", 1, 1, digest_of({1}));
    const digests before = known;
    CHECK_THROWS_AS(known.put("", 1, 1, digest_of({1})), std::invalid_argument);
    CHECK_THROWS_AS(known.put(std::string(256, 'a'), 1, 1, digest_of({1})), std::invalid_argument);
    CHECK(known == before);
    CHECK(known.put(std::string(255, 'a'), 1, 1, digest_of({1})));
    CHECK(digests::deserialize(known.serialize()) == known);
}

TEST_CASE("states and sets of other parameters are refused, and nothing changes") {
    digests known(qsketch::tdigest<>(100));
    known.put("a", 1, 1, digest_of({1}));
    const digests before = known;
    qsketch::tdigest<> coarse(50);
    CHECK_THROWS_AS(known.put("a", 1, 2, coarse), qsketch::incompatible_error);
    coarse.add(1.0);
    CHECK_THROWS_AS(known.put("b", 1, 1, coarse), qsketch::incompatible_error);
    digests others(qsketch::tdigest<>(50));
    CHECK_FALSE(known.compatible(others));
    CHECK_THROWS_AS(known.merge(others), qsketch::incompatible_error);
    CHECK(known == before);
    CHECK_THROWS_AS(digests(coarse), std::invalid_argument);
    using uniques = qsketch::replica_set<qsketch::hyperloglog<std::uint64_t>>;
    CHECK_THROWS_AS(uniques(qsketch::hyperloglog<std::uint64_t>(9, qsketch::hash(1))), std::invalid_argument);
}

TEST_CASE("a window's states keep its clock's slots") {
    using window = qsketch::sliding_window<qsketch::tdigest<>>;
    const window blank(std::chrono::seconds(1), 60);
    qsketch::replica_set<window> known(blank);
    window a = blank;
    window b = blank;
    a.add_at(window::time_point(std::chrono::seconds(5)), 1.0);
    b.add_at(window::time_point(std::chrono::seconds(5)), 3.0);
    known.put("a", 1, 1, a);
    known.put("b", 1, 1, b);
    const auto answer = known.fold().query(std::chrono::seconds(1), window::time_point(std::chrono::seconds(5)));
    CHECK(answer.sketch.count() == 2);
    CHECK(answer.sketch.sum() == 4.0);
}

TEST_CASE("erase_if forgets what the rule says, and merging brings back what others kept") {
    digests known;
    for (std::uint64_t i = 0; i < 20; ++i) known.put(i % 2 == 0 ? "a" : "b", i, i + 1, digest_of({1}));
    const digests before = known;
    int asked = 0;
    CHECK_THROWS_AS(known.erase_if([&](const digests::replica&) { return ++asked == 7 ? throw 1 : true; }), int);
    CHECK(known == before);
    const auto old = [](const digests::replica& r) { return r.incarnation < 15; };
    CHECK(known.erase_if(old) == 15);
    CHECK(known.replicas().size() == 5);
    CHECK(known.fold().count() == 5);
    CHECK(known.nodes() == std::vector<std::string>{"a", "b"});
    CHECK(known.erase_if(old) == 0);
    CHECK(digests::deserialize(known.serialize()) == known);
    CHECK(merged(known, before) == before);
}

TEST_CASE("a set that cannot be is not read") {
    const auto image = digest_of({1, 2}).serialize();
    const digests::replica a{"a", 1, 1, image};
    const digests::replica a_later{"a", 2, 1, image};
    const digests::replica b{"b", 1, 1, image};
    CHECK(digests::deserialize(image_of({a, a_later, b})).serialize() == image_of({a, a_later, b}));
    for (const auto& wrong :
         std::vector<std::vector<digests::replica>>{{b, a},
                                                    {a_later, a},
                                                    {a, a},
                                                    {{"", 1, 1, image}},
                                                    {{"a", 1, 1, {}}},
                                                    {{"a", 1, 1, qsketch::hyperloglog<std::uint64_t>(9).serialize()}},
                                                    {{"a", 1, 1, qsketch::tdigest<>(50).serialize()}}})
        CHECK_THROWS_AS(digests::deserialize(image_of(wrong)), qsketch::format_error);
    CHECK_THROWS_AS(digests::deserialize(image_of({}, digest_of({1}))), qsketch::format_error);
    bytes more = image_of({a});
    more[qsketch::detail::image_header_size + 8 + qsketch::tdigest<>().serialize().size()] = std::byte{2};
    support::seal(more);
    CHECK_THROWS_AS(digests::deserialize(more), qsketch::format_error);
}

TEMPLATE_LIST_TEST_CASE("a state in another form than serialize() gives it is refused", "", sketch_types) {
    const auto s = support::filled<TestType>(3000, 100'000, 1);
    if constexpr (requires { s.serialize_compact(); }) {
        REQUIRE(s.serialize_compact() != s.serialize());
        const auto prototype = sketch_case<TestType>::make();
        using set = qsketch::replica_set<TestType>;
        CHECK(set::deserialize(image_of({{"a", 1, 1, s.serialize()}}, prototype)).fold() == s);
        CHECK_THROWS_AS(set::deserialize(image_of({{"a", 1, 1, s.serialize_compact()}}, prototype)),
                        qsketch::format_error);
    }
}

TEST_CASE("memory_bytes counts the images") {
    digests known;
    const std::size_t empty = known.memory_bytes();
    CHECK(empty >= sizeof known + qsketch::tdigest<>().memory_bytes() - sizeof(qsketch::tdigest<>));
    qsketch::tdigest<> d;
    d.add(support::skewed_values(10'000, 1));
    known.put("a", 1, 1, d);
    CHECK(known.memory_bytes() >= empty + d.serialize().size());
    CHECK(known.memory_bytes() <= empty + d.serialize().size() + 200);
}
