#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace qsketch_server {

/// What is wrong with one field of what a client sent: the rule it breaks and the value it had.
struct problem {
    std::string field;
    std::string error;
};

/// A request that is understood and refused for its fields' values.
class invalid_fields : public std::invalid_argument {
public:
    explicit invalid_fields(problem p) : invalid_fields(p.field + ": " + p.error, {p}) {}
    /// Where the sentence is prescribed, as for the missing parameters of the quantile queries.
    invalid_fields(const std::string& sentence, std::vector<problem> problems)
        : invalid_argument(sentence), problems_(std::move(problems)) {}

    [[nodiscard]] const std::vector<problem>& problems() const noexcept { return problems_; }

private:
    std::vector<problem> problems_;
};

/// A name nobody has stored anything under.
class not_found : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// A new key where --max-series keys are held already.
class too_many_series : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

} // namespace qsketch_server
