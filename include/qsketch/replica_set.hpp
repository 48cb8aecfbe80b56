#pragma once

#include <qsketch/concepts.hpp>
#include <qsketch/detail/image.hpp>
#include <qsketch/detail/merge_many.hpp>
#include <qsketch/detail/nested_image.hpp>
#include <qsketch/error.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace qsketch::inline v0 {

/// What several nodes have counted, each by itself, kept on all of them by messages that may be lost, repeated or
/// overtake each other.
///
/// A node never sends what is new; it sends all that it has counted in this life, as a sketch with a sequence number
/// that grows with every change. Of each life of each node only the latest state is kept, and only a reading merges
/// states. So nothing is counted twice, however often it arrives. A node that starts again without its sketch takes a
/// new incarnation, a number that no life of this node had before, and begins with an empty sketch; what it has counted
/// before stays as it is, beside the new. The numbers may be in any order: only whether they are equal matters.
///
/// merge() is idempotent, commutative and associative, in bytes, whatever the sketch, also where the sketch's own merge
/// is not: sets that have received the same states, in whatever order and way, are equal, and so are their fold()s.
/// Two different states under one node, incarnation and sequence are a fault of the node that sent them; of these the
/// one whose image is the greater one, compared byte by byte, wins everywhere.
///
/// States are kept as images, which is what they are compared by. `Sketch` must be one that Sketch::deserialize(image)
/// reads: not one whose hash has a seed or key of its own.
/// Tests: replica_set.test.cpp runs five nodes over a faulty network, for every sketch. Source: state-based replication
/// with a maximum for each node, as the G-Counter of Shapiro et al., "A comprehensive study of convergent and
/// commutative replicated data types", 2011, section 3.1.
template <mergeable_sketch Sketch>
class replica_set {
public:
    /// The latest known state of one life of a node.
    struct replica {
        std::string node;
        std::uint64_t incarnation;
        std::uint64_t sequence;
        std::vector<std::byte> image; ///< Of the state, as serialize() writes it.

        [[nodiscard]] Sketch state() const { return Sketch::deserialize(image); }

        friend bool operator==(const replica&, const replica&) = default;
    };

    /// In bytes.
    static constexpr std::size_t max_node_size = 255;

    /// States must have the parameters of `prototype`, an empty sketch.
    /// Throws std::invalid_argument if the prototype is not empty, or cannot be read back from its image.
    explicit replica_set(Sketch prototype = Sketch()) : prototype_(std::move(prototype)) {
        if (!prototype_.empty()) throw std::invalid_argument("replica_set: prototype must be empty");
        if (!readable(prototype_))
            throw std::invalid_argument("replica_set: prototype must be readable from its image alone");
    }

    /// Takes the state unless a later one of this node and incarnation is there. Returns whether it was news.
    /// Complexity: O(log n) of n replicas, which a new one moves; and two copies of the state.
    /// Throws std::invalid_argument unless 1 <= node.size() <= max_node_size, incompatible_error if the state has other
    /// parameters than the prototype; then nothing changes.
    bool put(std::string_view node, std::uint64_t incarnation, std::uint64_t sequence, const Sketch& state) {
        if (node.empty() || node.size() > max_node_size)
            throw std::invalid_argument("replica_set: a node's name must have 1 to 255 bytes, got " +
                                        std::to_string(node.size()));
        if (!has_parameters(state, prototype_))
            throw incompatible_error("replica_set: the state has other parameters than the prototype");
        replica sent{std::string(node), incarnation, sequence, state.serialize()};
        const auto at = std::lower_bound(replicas_.begin(), replicas_.end(), sent, earlier_place);
        if (at == replicas_.end() || earlier_place(sent, *at)) {
            replicas_.insert(at, std::move(sent));
            return true;
        }
        if (!supersedes(sent, *at)) return false;
        *at = std::move(sent);
        return true;
    }

    /// Takes of each node and incarnation the later state.
    /// Complexity: O(replicas of both); copies the states that are news.
    /// Throws incompatible_error unless compatible(other); this set is then unchanged.
    void merge(const replica_set& other) {
        if (!compatible(other)) throw incompatible_error("replica_set: the parameters of the sketches differ");
        std::vector<replica> news;
        for (const replica& theirs : other.replicas_) {
            const auto mine = std::lower_bound(replicas_.begin(), replicas_.end(), theirs, earlier_place);
            if (mine == replicas_.end() || earlier_place(theirs, *mine) || supersedes(theirs, *mine))
                news.push_back(theirs);
        }
        if (news.empty()) return;
        std::vector<replica> merged;
        merged.reserve(replicas_.size() + news.size());
        // Of a place that both have, set_union takes the first range's.
        std::set_union(std::make_move_iterator(news.begin()), std::make_move_iterator(news.end()),
                       std::make_move_iterator(replicas_.begin()), std::make_move_iterator(replicas_.end()),
                       std::back_inserter(merged), earlier_place);
        replicas_ = std::move(merged);
    }

    /// All states merged into one sketch, in the order of replicas(): all that was counted.
    /// Complexity: reads every state and merges them, in a single merge where Sketch offers one.
    /// Throws incompatible_error where Sketch::merge does though sketches are compatible: counts that pass a limit.
    [[nodiscard]] Sketch fold() const {
        std::vector<Sketch> states;
        states.reserve(replicas_.size());
        for (const replica& r : replicas_) states.push_back(r.state());
        std::vector<const Sketch*> parts;
        parts.reserve(states.size());
        for (const Sketch& state : states) parts.push_back(&state);
        Sketch sum = prototype_;
        detail::merge_many(sum, std::span<const Sketch* const>(parts));
        return sum;
    }

    /// By node, in byte order, then by incarnation.
    [[nodiscard]] std::span<const replica> replicas() const noexcept { return replicas_; }

    /// Their names, in byte order.
    [[nodiscard]] std::vector<std::string> nodes() const {
        std::vector<std::string> names;
        for (const replica& r : replicas_)
            if (names.empty() || names.back() != r.node) names.push_back(r.node);
        return names;
    }

    /// Forgets the replicas that rule(const replica&) holds for; returns how many. What one set has let go comes back
    /// with a merge from one that still has it: the rule should be the same on all nodes, and say the same about a
    /// replica for good, as "ended longer ago than anything is asked for" does.
    /// Throws what the rule throws; then nothing changes.
    template <std::predicate<const replica&> Rule>
    std::size_t erase_if(Rule&& rule) {
        std::vector<bool> gone;
        gone.reserve(replicas_.size());
        for (const replica& r : std::as_const(replicas_)) gone.push_back(rule(r));
        std::size_t kept = 0;
        for (std::size_t i = 0; i < gone.size(); ++i) {
            if (gone[i]) continue;
            if (kept != i) replicas_[kept] = std::move(replicas_[i]);
            ++kept;
        }
        replicas_.erase(replicas_.begin() + static_cast<std::ptrdiff_t>(kept), replicas_.end());
        return gone.size() - kept;
    }

    /// Equal prototypes: sketches that merge, but of different parameters, will not do.
    [[nodiscard]] bool compatible(const replica_set& other) const noexcept { return prototype_ == other.prototype_; }

    /// Keeps the prototype.
    void clear() noexcept { replicas_.clear(); }

    /// Without any replica; one whose state is empty counts.
    [[nodiscard]] bool empty() const noexcept { return replicas_.empty(); }

    [[nodiscard]] friend bool operator==(const replica_set& a, const replica_set& b) {
        return a.prototype_ == b.prototype_ && a.replicas_ == b.replicas_;
    }

    /// O(replicas).
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        std::size_t bytes = sizeof *this - sizeof prototype_ + prototype_.memory_bytes();
        bytes += replicas_.capacity() * sizeof(replica);
        for (const replica& r : replicas_) bytes += r.node.capacity() + r.image.capacity();
        return bytes;
    }

    /// Layout: docs/format.md.
    [[nodiscard]] std::vector<std::byte> serialize() const {
        detail::image_writer out(detail::image_kind::replica_set, {}, 0);
        detail::put_nested(out, prototype_);
        out.put(static_cast<std::uint64_t>(replicas_.size()));
        for (const replica& r : replicas_) {
            out.put(static_cast<std::uint8_t>(r.node.size()));
            out.put(std::as_bytes(std::span(r.node.data(), r.node.size())));
            out.put(r.incarnation);
            out.put(r.sequence);
            out.put(static_cast<std::uint64_t>(r.image.size()));
            out.put(std::span<const std::byte>(r.image));
        }
        return std::move(out).finish();
    }

    /// Throws format_error unless `image` is a set of this kind of sketch, with every state in the form that
    /// Sketch::serialize() gives it.
    [[nodiscard]] static replica_set deserialize(std::span<const std::byte> image) {
        detail::image_reader in(image, detail::image_kind::replica_set, "replica_set");
        in.require(in.options() == detail::image_options{}, "has option bytes that are not zero");
        Sketch prototype = take_state(in).sketch;
        in.require(prototype.empty(), "has a prototype that is not empty");
        replica_set set(std::move(prototype));
        for (auto left = in.take<std::uint64_t>(); left > 0; --left) {
            const auto node = in.take_bytes(in.take<std::uint8_t>());
            in.require(!node.empty(), "has a node without a name");
            replica r{std::string(reinterpret_cast<const char*>(node.data()), node.size()),
                      in.take<std::uint64_t>(),
                      in.take<std::uint64_t>(),
                      {}};
            in.require(set.empty() || earlier_place(set.replicas_.back(), r), "has replicas that do not ascend");
            auto [state, bytes] = take_state(in);
            in.require(has_parameters(std::move(state), set.prototype_),
                       "has a state of other parameters than its prototype");
            r.image = std::move(bytes);
            set.replicas_.push_back(std::move(r));
        }
        in.expect_end();
        return set;
    }

private:
    [[nodiscard]] static bool readable(const Sketch& prototype) {
        try {
            return Sketch::deserialize(prototype.serialize()) == prototype;
        } catch (const format_error&) {
            return false;
        }
    }

    struct nested {
        Sketch sketch;
        std::vector<std::byte> image;
    };
    /// Refuses other forms, which some sketches can read too: equal sets must have equal bytes.
    [[nodiscard]] static nested take_state(detail::image_reader& in) {
        const auto size = in.take<std::uint64_t>();
        in.require(size <= in.remaining(), "is truncated inside a state");
        const auto bytes = in.take_bytes(static_cast<std::size_t>(size));
        nested taken{Sketch::deserialize(bytes), {}};
        taken.image = taken.sketch.serialize();
        in.require(std::equal(taken.image.begin(), taken.image.end(), bytes.begin(), bytes.end()),
                   "has a state in another form than serialize() gives it");
        return taken;
    }

    [[nodiscard]] static bool has_parameters(Sketch state, const Sketch& prototype) {
        state.clear();
        return state == prototype;
    }

    [[nodiscard]] static bool earlier_place(const replica& a, const replica& b) noexcept {
        return std::tie(a.node, a.incarnation) < std::tie(b.node, b.incarnation);
    }

    /// Of the same place: whether a is later than b.
    [[nodiscard]] static bool supersedes(const replica& a, const replica& b) noexcept {
        return a.sequence != b.sequence ? a.sequence > b.sequence : a.image > b.image;
    }

    Sketch prototype_;
    std::vector<replica> replicas_; // ascending by place
};

} // namespace qsketch::inline v0
