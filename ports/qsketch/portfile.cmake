# vcpkg install qsketch --classic --overlay-ports=ports builds this checkout. In a registry, vcpkg_from_github() gives SOURCE_PATH.
get_filename_component(SOURCE_PATH "${CURRENT_PORT_DIR}/../.." ABSOLUTE)

# Headers only: one configuration is all there is.
set(VCPKG_BUILD_TYPE release)

vcpkg_cmake_configure(SOURCE_PATH "${SOURCE_PATH}" OPTIONS -DQSKETCH_BUILD_TESTS=OFF -DQSKETCH_BUILD_EXAMPLES=OFF -DQSKETCH_BUILD_SERVER=OFF)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH share/cmake/qsketch)
vcpkg_fixup_pkgconfig()

file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/share/licenses")
file(INSTALL "${CURRENT_PORT_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/qsketch")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
