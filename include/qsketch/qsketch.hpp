#pragma once

#include <qsketch/concepts.hpp>
#include <qsketch/count_min.hpp>
#include <qsketch/error.hpp>
#include <qsketch/hash.hpp>
#include <qsketch/hyperloglog.hpp>
#include <qsketch/keyed.hpp>
#include <qsketch/log_histogram.hpp>
#include <qsketch/replica_set.hpp>
#include <qsketch/scale.hpp>
#include <qsketch/sip_hash.hpp>
#include <qsketch/sliding_window.hpp>
#include <qsketch/tdigest.hpp>
#include <qsketch/top_k.hpp>
#include <qsketch/version.hpp>
