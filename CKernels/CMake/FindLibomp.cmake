# SPDX-License-Identifier: Apache-2.0
# Finds LLVM's OpenMP runtime, whose GOMP and KMP entry points need no compiler flag. Target: Libomp::Libomp.
# Debian installs it as libomp5.so and below lib/llvm-<version>, other systems as libomp.so.
file(GLOB Libomp_folders LIST_DIRECTORIES true /usr/lib/llvm-*/lib /usr/local/opt/libomp/lib /opt/homebrew/opt/libomp/lib)
list(SORT Libomp_folders COMPARE NATURAL ORDER DESCENDING)
find_library(Libomp_LIBRARY NAMES omp5 omp PATHS ${Libomp_folders})
mark_as_advanced(Libomp_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Libomp
  REQUIRED_VARS Libomp_LIBRARY
  REASON_FAILURE_MESSAGE "install the OpenMP runtime (Debian: apt-get install libomp-dev)")

if(Libomp_FOUND AND NOT TARGET Libomp::Libomp)
  add_library(Libomp::Libomp UNKNOWN IMPORTED)
  set_target_properties(Libomp::Libomp PROPERTIES IMPORTED_LOCATION "${Libomp_LIBRARY}")
endif()
