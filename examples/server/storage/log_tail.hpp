#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace qsketch_server {

/// Cuts off what follows the last whole record of a RocksDB log, and says how many bytes: a record that did not get to
/// the disk whole was never acknowledged. A damaged record with a whole one behind it had been: then nothing is cut.
/// Returns 0 for a sound log.
/// Throws storage_error, naming the file, for damage in the middle and for what the system refuses.
std::uint64_t cut_torn_tail(const std::string& log);

/// Is there nothing but whole records?
/// Throws storage_error if the file cannot be read.
[[nodiscard]] bool is_whole(const std::string& log);

/// Cuts off the records that begin with a sequence number above `last`, which were written but not acknowledged, and
/// what may be left of a torn one.
/// Throws storage_error, naming the file, for what the system refuses.
void cut_after(const std::string& log, std::uint64_t last);

/// Calls visit(record) for every whole record, also behind damage: there from the next block of 32 KB on.
/// Throws storage_error if the file cannot be read.
void each_record(const std::string& log, const std::function<void(std::string_view record)>& visit);

} // namespace qsketch_server
