#pragma once

#include "http/answer.hpp"
#include "support/client.hpp"
#include "support/directory.hpp"
#include "support/json.hpp"
#include "support/process.hpp"

#include <chrono>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

namespace server_test {

/// Chromium without a window, steered through its driver by the WebDriver protocol.
class browser {
public:
    static constexpr const char* program = "/usr/bin/chromium";
    static constexpr const char* driver = "/usr/bin/chromedriver";

    [[nodiscard]] static bool installed() {
        return std::filesystem::exists(program) && std::filesystem::exists(driver);
    }

    browser() : driver_(home_.path()) {
        std::string arguments;
        for (const char* a : {"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                              "--disable-background-networking", "--disable-component-update", "--disable-sync",
                              "--window-size=1280,1000"})
            arguments += '"' + std::string(a) + "\",";
        arguments += "\"--user-data-dir=" + home_.path() + "/profile\"";
        const std::string made = command("POST", "/session",
                                         R"({"capabilities":{"alwaysMatch":{"goog:loggingPrefs":{"browser":"ALL"},)"
                                         R"("goog:chromeOptions":{"binary":")" +
                                             std::string(program) + R"(","args":[)" + arguments + "]}}}}");
        const std::string id = json_at(made, "/value/sessionId");
        if (id.front() != '"') throw std::runtime_error("no session: " + made);
        session_ = "/session/" + id.substr(1, id.size() - 2);
    }

    void open(const std::string& url) { (void)command("POST", session_ + "/url", R"({"url":")" + url + "\"}"); }

    /// The JSON of what the script returns.
    std::string run(const std::string& script) {
        const std::string got = command("POST", session_ + "/execute/sync",
                                        R"({"args":[],"script":)" + qsketch_server::json_string(script) + "}");
        return json_at(got, "/value");
    }

    /// Is the expression true within twenty seconds?
    [[nodiscard]] bool becomes_true(const std::string& expression) {
        for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
             std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(std::chrono::milliseconds(50)))
            if (run("return Boolean(" + expression + ")") == "true") return true;
        return false;
    }

    /// Keys into what has the focus; \uE007 is Enter.
    void type(const std::string& json_text) {
        const std::string focused = command("GET", session_ + "/element/active", {});
        const std::string id = json_at(focused, "/value/element-6066-11e4-a52e-4f735466cecf");
        (void)command("POST", session_ + "/element/" + id.substr(1, id.size() - 2) + "/value",
                      R"({"text":")" + json_text + "\"}");
    }

    /// A command of Chromium's own protocol.
    void devtools(const std::string& name, const std::string& parameters) {
        (void)command("POST", session_ + "/goog/cdp/execute",
                      R"({"cmd":")" + name + R"(","params":)" + parameters + "}");
    }

    /// What has been written to the console since the last call.
    [[nodiscard]] std::string console() {
        return json_at(command("POST", session_ + "/se/log", R"({"type":"browser"})"), "/value");
    }

private:
    /// Ends its browsers with itself.
    class driver_process : public process {
    public:
        explicit driver_process(const std::string& home)
            : process({"--port=0"}, {"PATH=/usr/bin:/bin", "HOME=" + home}, driver) {
            const std::string says = "successfully on port ";
            std::string said;
            do said = line();
            while (!said.empty() && said.find(says) == said.npos);
            if (said.empty()) throw std::runtime_error("the driver does not start: " + errors());
            port_ = static_cast<std::uint16_t>(std::stoi(said.substr(said.find(says) + says.size())));
        }
        ~driver_process() {
            try {
                (void)ask(port_, "GET", "/shutdown");
                (void)wait(std::chrono::seconds(10));
            } catch (const std::exception&) { // it has gone already
            }
        }
        driver_process(const driver_process&) = delete;
        driver_process& operator=(const driver_process&) = delete;
        [[nodiscard]] std::uint16_t port() const noexcept { return port_; }

    private:
        std::uint16_t port_ = 0;
    };

    std::string command(const std::string& method, const std::string& path, const std::string& body) {
        connection c(driver_.port());
        std::string text = method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        if (!body.empty())
            text += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
        c.send(text + "\r\n" + body);
        const reply r = c.receive(std::chrono::seconds(60));
        if (r.status != 200) throw std::runtime_error(path + " " + std::to_string(r.status) + " " + r.body);
        return r.body;
    }

    directory home_;
    driver_process driver_;
    std::string session_;
};

} // namespace server_test
