#pragma once

#include <stdexcept>

namespace qsketch::inline v0 {

/// A merge of two sketches that cannot mean anything: other parameters, other hash, other seed.
/// The receiver is unchanged.
class incompatible_error : public std::invalid_argument {
public:
    using std::invalid_argument::invalid_argument;
};

/// Bytes that are not a sketch of the expected type: truncated, damaged, from a newer format, or made up.
/// Nothing is constructed, and nothing larger than the input justifies is allocated before this is thrown.
class format_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

} // namespace qsketch::inline v0
