#pragma once

#include "http/gate.hpp"

#include <memory>
#include <string>

namespace qsketch_server {

struct application;

/// From a whole request to the bytes of its answer: routes.hpp decides what it is, cpp-httplib writes it. The only file
/// that knows cpp-httplib is server.cpp.
class responder {
public:
    explicit responder(application& app);
    ~responder();
    responder(const responder&) = delete;
    responder& operator=(const responder&) = delete;

    /// Safe to call from many threads. May clear x.keep_alive.
    [[nodiscard]] std::string respond(exchange& x);

    [[nodiscard]] bool wants_body_of(const exchange& x) const;

private:
    class engine;
    application& app_;
    std::unique_ptr<engine> engine_;
};

} // namespace qsketch_server
