#include "storage/change_list.hpp"

namespace qsketch_server {

changes::changes() : state_(std::make_unique<state>()) {}
changes::changes(changes&&) noexcept = default;
changes& changes::operator=(changes&&) noexcept = default;
changes::~changes() = default;

void changes::put(table where, std::string_view key, std::string_view row) {
    state_->add(state::kind::put, where, key, row);
}
void changes::merge(table where, std::string_view key, std::string_view operand) {
    state_->add(state::kind::merge, where, key, operand);
}
void changes::remove(table where, std::string_view key) { state_->add(state::kind::remove, where, key, {}); }

void changes::then(std::function<void()> apply) { state_->applies.push_back(std::move(apply)); }
void changes::hold(std::shared_ptr<void> until_done) { state_->held.push_back(std::move(until_done)); }

bool changes::empty() const noexcept { return state_->rows.empty() && state_->applies.empty(); }

} // namespace qsketch_server
