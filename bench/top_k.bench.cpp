// top_k: time per add to a sketch of the hundred most frequent keys. Compare rows of one run only, best by the ratio.

#include "frequency.hpp"

#include <qsketch/top_k.hpp>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

template <class Key, class Keys>
void add_rows(const std::string& name, const Keys& keys) {
    frequency::add_row("add, batch, " + name, [keys, sketch = qsketch::top_k<Key>(100)]() mutable {
        sketch.add(std::span<const Key>(*keys));
    });
    frequency::add_row("add, " + name, [keys, sketch = qsketch::top_k<Key>(100)]() mutable {
        for (const Key key : *keys) sketch.add(key);
    });
}

} // namespace

int main(int argc, char** argv) {
    frequency::add_reference_rows();
    const auto zipf = std::make_shared<const std::vector<std::uint64_t>>(frequency::zipf_keys(1.1));
    add_rows<std::uint64_t>("Zipf(1.1)", zipf);
    add_rows<std::uint64_t>("Zipf(0.9)", std::make_shared<const std::vector<std::uint64_t>>(frequency::zipf_keys(0.9)));
    add_rows<std::uint64_t>("uniform", std::make_shared<const std::vector<std::uint64_t>>(frequency::uniform_keys()));
    const auto texts = std::make_shared<frequency::texts>(*zipf);
    const std::shared_ptr<const std::vector<std::string_view>> views(texts, &texts->views());
    add_rows<std::string_view>("16-byte strings", views);
    return frequency::run(argc, argv);
}
