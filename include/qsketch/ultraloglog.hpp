#pragma once

#include <qsketch/detail/recent_ranks.hpp>
#include <qsketch/hash.hpp>
#include <qsketch/loglog.hpp>

#include <string_view>

namespace qsketch::inline v0 {

/// How many distinct keys were added, with 27 % less error than hyperloglog in the same memory; or half the memory at
/// the same error. Adding and merging cost about twice as much.
///
/// A register keeps the largest rank and whether the two ranks below it came. The members are those of loglog;
/// hyperloglog<Key, Hash>(u) is the hyperloglog of the same keys.
/// Error: relative_error() is 0.761 / sqrt(2^precision).
/// Test: ultraloglog_accuracy.test.cpp. Source: Ertl 2024, UltraLogLog (VLDB 17), with the maximum-likelihood
/// estimator.
template <class Key = std::string_view, stable_hash<Key> Hash = hash>
using ultraloglog = loglog<detail::recent_ranks, Key, Hash>;

} // namespace qsketch::inline v0
