#pragma once

#include <simdjson.h>

#include <string>

namespace server_test {

/// The value at a JSON pointer, as JSON text; a failure names what was looked for.
inline std::string json_at(const std::string& text, const std::string& pointer) {
    simdjson::dom::parser parser;
    simdjson::dom::element found;
    const simdjson::padded_string padded(text);
    simdjson::dom::element whole;
    if (parser.parse(padded).get(whole) != simdjson::SUCCESS) return "(not JSON: " + text + ")";
    if (whole.at_pointer(pointer).get(found) != simdjson::SUCCESS)
        return "(nothing at " + pointer + " of " + text + ")";
    return simdjson::minify(found);
}

inline double number_at(const std::string& text, const std::string& pointer) {
    return std::stod(json_at(text, pointer));
}

} // namespace server_test
