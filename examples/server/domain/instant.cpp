#include "domain/instant.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace qsketch_server {
namespace {

constexpr std::int64_t last_millis = 253402300799999; // 9999-12-31T23:59:59.999Z

/// Reads a text from the left; any failure sticks.
class reader {
public:
    explicit reader(std::string_view text) noexcept : rest_(text) {}

    [[nodiscard]] bool ok() const noexcept { return ok_; }
    [[nodiscard]] bool done() const noexcept { return rest_.empty(); }
    [[nodiscard]] bool next_is(std::string_view any) const noexcept {
        return !rest_.empty() && any.find(rest_.front()) != any.npos;
    }
    bool skip(std::string_view any) noexcept {
        if (!next_is(any)) return false;
        rest_.remove_prefix(1);
        return true;
    }
    void require(char c) noexcept { ok_ = skip(std::string_view(&c, 1)) && ok_; }

    int digits(std::size_t n) noexcept {
        int value = 0;
        for (; n > 0; --n) {
            if (!next_is("0123456789")) {
                ok_ = false;
                return 0;
            }
            value = value * 10 + (rest_.front() - '0');
            rest_.remove_prefix(1);
        }
        return value;
    }

    /// One digit or more, as thousandths.
    int fraction() noexcept {
        int millis = digits(1) * 100;
        for (int unit = 10; next_is("0123456789"); unit /= 10) millis += digits(1) * unit;
        return millis;
    }

private:
    std::string_view rest_;
    bool ok_ = true;
};

} // namespace

std::optional<instant> from_millis(std::int64_t millis) noexcept {
    if (millis < 0 || millis > last_millis) return {};
    return instant(std::chrono::milliseconds(millis));
}

std::optional<instant> parse_instant(std::string_view text) noexcept {
    using namespace std::chrono;
    if (text.empty()) return {};
    if (std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; })) {
        std::int64_t millis = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), millis);
        if (error != std::errc{}) return {};
        return from_millis(millis);
    }
    reader in(text);
    const int y = in.digits(4);
    in.require('-');
    const int m = in.digits(2);
    in.require('-');
    const int d = in.digits(2);
    const year_month_day date(year(y), month(static_cast<unsigned>(m)), day(static_cast<unsigned>(d)));
    if (!in.ok() || !date.ok()) return {};
    milliseconds of_day{0};
    minutes offset{0};
    if (!in.done()) {
        if (!in.skip("Tt ")) return {};
        const int h = in.digits(2);
        in.require(':');
        const int min = in.digits(2);
        int s = 0;
        int fraction = 0;
        if (in.skip(":")) {
            s = in.digits(2);
            if (in.skip(".,")) fraction = in.fraction();
        }
        if (!in.ok() || h > 23 || min > 59 || s > 59) return {};
        of_day = hours(h) + minutes(min) + seconds(s) + milliseconds(fraction);
        if (!in.skip("Zz") && in.next_is("+- ")) {
            const bool west = in.next_is("-");
            in.skip("+- ");
            const int oh = in.digits(2);
            int om = 0;
            if (!in.done()) {
                in.skip(":");
                om = in.digits(2);
            }
            if (!in.ok() || oh > 23 || om > 59) return {};
            offset = (hours(oh) + minutes(om)) * (west ? -1 : 1);
        }
    }
    if (!in.ok() || !in.done()) return {};
    return from_millis((sys_days(date).time_since_epoch() + of_day - offset) / milliseconds(1));
}

std::string iso_time(instant t) {
    using namespace std::chrono;
    const auto midnight = floor<days>(t);
    const year_month_day date(midnight);
    const hh_mm_ss time(t - midnight);
    std::string out = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", static_cast<int>(date.year()),
                                  static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                                  time.hours().count(), time.minutes().count(), time.seconds().count());
    if (time.subseconds().count() != 0) out += fmt::format(".{:03}", time.subseconds().count());
    return out += 'Z';
}

std::optional<std::string> acceptable_times::objection(instant t) const {
    if (t < oldest) {
        if (too_old_count != nullptr) ++*too_old_count;
        // Seconds since 1970, taken for milliseconds, are days of that January.
        const bool seconds = t.time_since_epoch() < std::chrono::days(31);
        return fmt::format("must not be older than {} allows ({}), got {}{}", retention, iso_time(oldest), iso_time(t),
                           seconds ? "; numbers are milliseconds" : "");
    }
    if (t > newest)
        return fmt::format("must not be later than {} from now ({}), got {}", ahead, iso_time(newest), iso_time(t));
    return {};
}

} // namespace qsketch_server
