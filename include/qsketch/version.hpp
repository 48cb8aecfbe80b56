#pragma once

// The one place that holds the version; the build files read it from here.
#define QSKETCH_VERSION_MAJOR 0
#define QSKETCH_VERSION_MINOR 1
#define QSKETCH_VERSION_PATCH 0
