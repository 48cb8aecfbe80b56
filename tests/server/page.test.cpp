#include "routes.hpp"

#include "support/browser.hpp"
#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/process.hpp"

#include <cstdlib>
#include <optional>
#include <regex>
#include <set>
#include <string>

using namespace server_test;

namespace {

/// One for all cases. Null, with a word about it, where none is installed and none is insisted on.
browser* shared_browser() {
    static std::optional<browser> one;
    if (!browser::installed()) {
        if (std::getenv("QSKETCH_BROWSER") != nullptr) FAIL("QSKETCH_BROWSER is set, but there is no chromium");
        WARN("skipped: no chromium; scripts/test --browser installs it");
        return nullptr;
    }
    if (!one) one.emplace();
    return &*one;
}

std::string url_of(const server& s) { return "http://127.0.0.1:" + std::to_string(s.port()) + "/"; }

/// One of the page's panels or parts, as text.
std::string text(browser& b, const std::string& selector) {
    return b.run("return document.querySelector('" + selector + "').textContent");
}

} // namespace

TEST_CASE("The page is whole in itself, and allowed nothing but what it brings and this server") {
    const server s;
    const reply r = get(s.port(), "/");
    CHECK(r.status == 200);
    CHECK(r.header("content-type") == "text/html; charset=utf-8");
    const std::string policy = r.header("content-security-policy");
    CHECK(policy.find("default-src 'none'; ") == 0);
    CHECK(policy.find("unsafe") == policy.npos);
    std::smatch nonce;
    REQUIRE(std::regex_search(policy, nonce, std::regex("script-src 'nonce-([0-9a-f]{32})'; style-src 'nonce-\\1'")));
    CHECK(r.body.find("<script nonce=\"" + nonce.str(1) + "\">") != r.body.npos);
    CHECK(r.body.find("<style nonce=\"" + nonce.str(1) + "\">") != r.body.npos);
    CHECK(get(s.port(), "/").header("content-security-policy") != policy);
    CHECK(r.header("cache-control") == "no-store");
    CHECK(r.header("x-content-type-options") == "nosniff");
    CHECK_FALSE(std::regex_search(r.body, std::regex("\\bsrc=|@import|url\\(")));
    const std::regex address("https?://[a-z0-9.]+");
    for (auto at = std::sregex_iterator(r.body.begin(), r.body.end(), address); at != std::sregex_iterator(); ++at)
        CHECK(at->str() == "http://www.w3.org"); // the name of SVG
}

TEST_CASE("The page has a form for every route") {
    const server s;
    const std::string body = get(s.port(), "/").body;
    std::set<std::string> forms;
    const std::regex entry("\\{method: '([A-Z]+)', path: '([^']+)'");
    for (auto at = std::sregex_iterator(body.begin(), body.end(), entry); at != std::sregex_iterator(); ++at)
        CHECK(forms.insert(at->str(1) + " " + at->str(2)).second);
    std::set<std::string> routes;
    for (const qsketch_server::route& r : qsketch_server::routes())
        routes.insert(std::string(r.method) + " " + std::string(r.pattern));
    CHECK(forms == routes);
}

TEST_CASE("In a browser, the page draws every panel and keeps up") {
    browser* const found = shared_browser();
    if (found == nullptr) return;
    browser& b = *found;
    const server s({"--demo"});
    b.open(url_of(s));
    for (const char* drawn : {"#status[data-ok=true]", "#quantiles .chart path.s2", "#distribution .chart path.s0",
                              "#audience .chart rect.s2", "#pages tbody td", "#health dd", "#throughput .chart path.s2",
                              "#key option[value=\\'login.ms\\']"}) {
        INFO(drawn);
        CHECK(b.becomes_true("document.querySelector('" + std::string(drawn) + "')"));
    }
    CHECK(b.run("return document.querySelectorAll('#pages tbody tr').length") == "10");
    CHECK(text(b, "#visitors").find("visitors (95 %: ") != std::string::npos);
    // What is new is drawn, under the key that is chosen.
    std::string samples;
    for (int i = 0; i < 100; ++i)
        samples += R"({"key":"a new one","value":)" + std::to_string(i < 50 ? 7 : 4000) + "}\n";
    REQUIRE(post_lines(s.port(), "/samples", samples).status == 200);
    b.run("return every(0)");
    REQUIRE(b.becomes_true("[...document.querySelector('#key').options].some(o => o.value === 'a new one')"));
    b.run("const k = document.querySelector('#key'); k.value = 'a new one'; k.dispatchEvent(new Event('change'))");
    CHECK(b.becomes_true("document.querySelector('#quantiles .legend').textContent.includes('p99: 4000')"));
    CHECK(text(b, "#distribution .chart").find("100 samples from 7 to 4000") != std::string::npos);
    const std::string points = "document.querySelector('#throughput path.s0').getAttribute('d').split('L').length";
    const std::string before = b.run("return " + points);
    CHECK(b.becomes_true(points + " > " + before));
    CHECK(text(b, "#gone") == R"("")");
    CHECK(b.run("return [...document.querySelectorAll('.error')].map(e => e.textContent).join('')") == R"("")");
    CHECK(b.console() == "[]"); // neither errors nor violations of the policy
}

TEST_CASE("In a browser, refusals and a server that is gone are told in words") {
    browser* const found = shared_browser();
    if (found == nullptr) return;
    browser& b = *found;
    std::optional<server> s(std::in_place);
    const std::string port = std::to_string(s->port());
    REQUIRE(post_json(s->port(), "/samples", R"({"key":"k","value":1})").status == 200);
    b.open(url_of(*s));
    REQUIRE(b.becomes_true("document.querySelector('#quantiles path')"));
    REQUIRE(ask(s->port(), "DELETE", "/keys/k").status == 204);
    b.run("return showQuantiles().catch(() => panel('quantiles', showQuantiles))");
    CHECK(text(b, "#quantiles .error") == R"("404: Key not found")");
    CHECK(text(b, "#gone") == R"("")");
    s.reset();
    CHECK(
        b.becomes_true("document.querySelector('#gone').textContent.startsWith('The server does not answer since ')"));
    CHECK(text(b, "#status") == R"("no answer")");
    process again({"--port=" + port});
    REQUIRE_FALSE(again.line().empty());
    CHECK(b.becomes_true("document.querySelector('#gone').textContent === ''"));
    CHECK(b.becomes_true("document.querySelector('#status').textContent === 'ok'"));
}

TEST_CASE("In a browser, a form shows its request as a curl line, sends it, and shows the answer") {
    browser* const found = shared_browser();
    if (found == nullptr) return;
    browser& b = *found;
    const server s;
    b.open(url_of(s));
    const auto in_form = [](const std::string& route, const std::string& selector) {
        return "document.querySelector('details[data-route=\"" + route + "\"] " + selector + "')";
    };
    const auto opened = [&](const std::string& route) {
        b.run(in_form(route, "summary") + ".focus()");
        b.type("\\uE007"); // by the keyboard
        return b.becomes_true(in_form(route, ".curl"));
    };
    REQUIRE(opened("POST /samples"));
    b.run("const t = " + in_form("POST /samples", "textarea") +
          R"(; t.value = '{"key": "it\'s", "value": 5}'; t.dispatchEvent(new Event('input', {bubbles: true})))");
    CHECK(b.run("return " + in_form("POST /samples", ".curl") + ".textContent") ==
          R"("curl -X POST ')" + url_of(s) +
              R"(samples' -H 'Content-Type: application/json' -d '{\"key\": \"it'\\''s\", \"value\": 5}'")");
    b.run(in_form("POST /samples", "button") + ".focus()");
    b.type("\\uE007");
    CHECK(b.becomes_true(in_form("POST /samples", ".result") + R"(.textContent.startsWith('200 OK\n{"ack":true,'))"));
    CHECK(get(s.port(), "/keys").body == R"({"keys":["it's"],"next":null})");
    b.run("const t = " + in_form("POST /samples", "textarea") + ".value = '{'; " + in_form("POST /samples", "button") +
          ".click()");
    CHECK(b.becomes_true(in_form("POST /samples", ".result") + R"(.textContent.startsWith('400 Bad Request\n'))"));
    CHECK(b.becomes_true(in_form("POST /samples", ".result") + ".textContent.includes('is not valid JSON')"));
    // A path, a query, and names without values.
    REQUIRE(opened("DELETE /keys/{key}"));
    b.run("const i = " + in_form("DELETE /keys/{key}", "input") +
          R"(; i.value = 'it\'s'; i.dispatchEvent(new Event('input', {bubbles: true})))");
    CHECK(b.run("return " + in_form("DELETE /keys/{key}", ".curl") + ".textContent") ==
          R"("curl -X DELETE ')" + url_of(s) + R"(keys/it'\\''s'")");
    b.run(in_form("DELETE /keys/{key}", "button") + ".click()");
    CHECK(b.becomes_true(in_form("DELETE /keys/{key}", ".result") + ".textContent.startsWith('204')"));
    REQUIRE(opened("POST /analytics"));
    b.run(in_form("POST /analytics", "button") + ".click()");
    CHECK(b.becomes_true(in_form("POST /analytics", ".result") + ".textContent.startsWith('202')"));
    CHECK(get(s.port(), "/analytics?timestamp=" + std::to_string(now_ms())).body ==
          "unique_users,1\nclicks,1\nimpressions,0\n");
    // Every other form as it comes, too: none is refused but for what is not there.
    b.run("for (const d of document.querySelectorAll('details')) d.open = true");
    REQUIRE(b.becomes_true("document.querySelectorAll('details form').length === endpoints.length"));
    b.run(in_form("POST /samples", "textarea") + R"(.value = '{"key": "latency", "value": 5}')");
    b.run("for (const button of document.querySelectorAll('details button')) button.click()");
    REQUIRE(b.becomes_true("[...document.querySelectorAll('.result')].every(r => /^[0-9]/.test(r.textContent))"));
    CHECK(b.run("return [...document.querySelectorAll('.result')].filter(r => !/^(2|404)|tdigest image has 0 "
                "bytes/.test(r.textContent))"
                ".map(r => r.textContent).join()") == R"("")");
}

TEST_CASE("In a browser, the page fits a phone, has labels and enough contrast by day and by night") {
    browser* const found = shared_browser();
    if (found == nullptr) return;
    browser& b = *found;
    const server s({"--demo"});
    b.devtools("Emulation.setDeviceMetricsOverride",
               R"({"width":360,"height":740,"deviceScaleFactor":1,"mobile":true})");
    b.open(url_of(s));
    REQUIRE(b.becomes_true("document.querySelector('#pages tbody td') && document.querySelector('#audience rect')"));
    b.run("for (const d of document.querySelectorAll('details')) d.open = true");
    REQUIRE(b.becomes_true("document.querySelectorAll('details form').length === endpoints.length"));
    CHECK(b.run("return innerWidth") == "360");
    CHECK(b.run("return document.documentElement.scrollWidth") == "360");
    CHECK(
        b.run(
            "return [...document.querySelectorAll('input, select, textarea')].filter(e => !e.labels.length).length") ==
        "0");
    CHECK(
        b.run(
            "return [...document.querySelectorAll('.chart svg[role=img]')].every(e => e.getAttribute('aria-label'))") ==
        "true");
    const std::string contrasts = R"(
        const light = hex => [1, 3, 5].map(i => parseInt(hex.length === 4 ? hex[(i + 1) / 2].repeat(2)
                                                                        : hex.slice(i, i + 2), 16) / 255)
            .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
        const style = getComputedStyle(document.documentElement);
        const of = name => light(style.getPropertyValue('--' + name).trim());
        const ratio = (a, b) => (Math.max(of(a), of(b)) + 0.05) / (Math.min(of(a), of(b)) + 0.05);
        const pairs = ['text', 'soft', 'good', 'bad', 'one', 'two', 'three'].flatMap(
            name => [[name, 'panel'], [name, 'ground']]).concat([['bad', 'bad-ground']]);
        return pairs.filter(([a, b]) => ratio(a, b) < 4.5).join())";
    for (const char* scheme : {"light", "dark"}) {
        INFO(scheme);
        b.devtools("Emulation.setEmulatedMedia",
                   R"({"features":[{"name":"prefers-color-scheme","value":")" + std::string(scheme) + R"("}]})");
        CHECK(b.run("return matchMedia('(prefers-color-scheme: " + std::string(scheme) + ")').matches") == "true");
        CHECK(b.run(contrasts) == R"("")");
    }
    CHECK(b.run("return getComputedStyle(document.body).backgroundColor") == "\"rgb(13, 17, 23)\"");
    b.devtools("Emulation.clearDeviceMetricsOverride", "{}");
    b.devtools("Emulation.setEmulatedMedia", R"({"features":[]})");
}
