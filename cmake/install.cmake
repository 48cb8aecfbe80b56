# Everything lands in share/, the place of what suits every architecture, and no file names the prefix: it may be moved.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/licenses/qsketch)

# Without dependencies the exported targets are the whole package configuration.
set(package_dir ${CMAKE_INSTALL_DATADIR}/cmake/qsketch)
install(TARGETS qsketch EXPORT qsketch INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT qsketch NAMESPACE qsketch:: FILE qsketchConfig.cmake DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/qsketchConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/qsketchConfigVersion.cmake DESTINATION ${package_dir})

set(pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
if(IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  set(pc_includedir "${CMAKE_INSTALL_INCLUDEDIR}")
endif()
configure_file(cmake/qsketch.pc.in qsketch.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/qsketch.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)
