# Compiler settings, third-party packages and the functions every folder's CMakeLists.txt uses.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_VISIBILITY_PRESET default)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1 -DNDEBUG")
if(COHORT_SANITIZE)
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1 -DNDEBUG")  # what the sanitizers' own pages advise; compiles in two thirds of the time
endif()
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()

# ccache: a precompiled header needs these two allowances (its path and time are not part of the result).
find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER
    "${CMAKE_COMMAND};-E;env;CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime;${CCACHE}")
endif()

if(COHORT_SANITIZE)
  # -Wno-maybe-uninitialized: with the checks in between, g++ 12 takes std::regex for using what was never set
  add_compile_options(-fsanitize=${COHORT_SANITIZE} -fno-omit-frame-pointer -Wno-maybe-uninitialized)
  add_link_options(-fsanitize=${COHORT_SANITIZE})
endif()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
# by pkg-config: its CMake package asks for a libatomic that a plain g++ does not bring
pkg_check_modules(CAPNP REQUIRED IMPORTED_TARGET capnp)
find_program(CAPNP_COMPILER capnp REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(ZLIB REQUIRED)
pkg_check_modules(ZMQ REQUIRED IMPORTED_TARGET libzmq)
pkg_check_modules(HTTPLIB REQUIRED IMPORTED_TARGET cpp-httplib)
find_library(CLD2_LIBRARY cld2 REQUIRED)
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(SECCOMP REQUIRED IMPORTED_TARGET libseccomp)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(TOMLPP REQUIRED IMPORTED_TARGET tomlplusplus)
pkg_check_modules(MPI REQUIRED IMPORTED_TARGET ompi-c)  # the C interface: no wrapper compiler
target_compile_definitions(PkgConfig::MPI INTERFACE OMPI_SKIP_MPICXX)  # nor the old C++ bindings

# CUDA: Hopper, whose matrix instructions the kernels are written in.
if(COHORT_CUDA)
  find_program(COHORT_NVCC nvcc HINTS /usr/local/cuda/bin "$ENV{CUDA_HOME}/bin")
  if(NOT COHORT_NVCC)
    message(FATAL_ERROR "COHORT_CUDA=ON needs nvcc 13: put it on PATH, or configure with --preset cpu")
  endif()
  set(CMAKE_CUDA_COMPILER "${COHORT_NVCC}" CACHE FILEPATH "nvcc")
  set(CMAKE_CUDA_ARCHITECTURES 90a-real CACHE STRING "GPU architectures that get code")
  foreach(architecture IN LISTS CMAKE_CUDA_ARCHITECTURES)
    if(NOT architecture MATCHES "^90a(-real|-virtual)?$")
      message(FATAL_ERROR "CMAKE_CUDA_ARCHITECTURES=${CMAKE_CUDA_ARCHITECTURES}: the kernels are written in Hopper's instructions: leave it at 90a-real, or configure with --preset cpu")
    endif()
  endforeach()
  set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)  # the one LibTorch uses
  enable_language(CUDA)
  # CMake 3.25 does not know how nvcc spells it
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_FLAGS_RELWITHDEBINFO "-O3 -DNDEBUG -lineinfo")
  find_package(CUDAToolkit REQUIRED)
endif()

# LibTorch, CPU. The wheel's own find_package needs a CUDA toolkit and links all of it, so: two libraries by
# hand. -idirafter because the wheel's include folder also carries its own fmt, newer than the system's.
add_library(cohort_torch INTERFACE)
if(NOT EXISTS "${COHORT_TORCH_DIR}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "no LibTorch in COHORT_TORCH_DIR=${COHORT_TORCH_DIR}: run launch/bootstrap once")
endif()
target_compile_options(cohort_torch INTERFACE
  "SHELL:-idirafter ${COHORT_TORCH_DIR}/include" "SHELL:-idirafter ${COHORT_TORCH_DIR}/include/torch/csrc/api/include")
target_link_libraries(cohort_torch INTERFACE "${COHORT_TORCH_DIR}/lib/libtorch_cpu.so" "${COHORT_TORCH_DIR}/lib/libc10.so")
target_link_options(cohort_torch INTERFACE -Wl,--allow-shlib-undefined)
set(CMAKE_BUILD_RPATH "${COHORT_TORCH_DIR}/lib")

# Warnings are errors in our own code, with the compiler this was written with: a newer one has warnings nobody here has
# seen, and a user's build should not end at them. Third-party headers come in as system headers.
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  set(werror -Werror)
endif()
set(COHORT_WARNINGS -Wall -Wextra ${werror} -Wno-missing-field-initializers)

# cohort_library(NAME SOURCES a.cc b.cc LINKS x y [TORCH]): one library of one folder. Includes are written from
# the project's root ("transport/base/error.h"). TORCH: its files may include Torch and share one precompiled header.
function(cohort_library name)
  cmake_parse_arguments(A "TORCH" "" "SOURCES;LINKS" ${ARGN})
  add_library(${name} STATIC ${A_SOURCES})
  target_include_directories(${name} PUBLIC "${PROJECT_SOURCE_DIR}" "${PROJECT_BINARY_DIR}/generated")
  target_compile_options(${name} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:${COHORT_WARNINGS}>")
  target_link_libraries(${name} PUBLIC ${A_LINKS} Threads::Threads)
  if(A_TORCH)
    target_link_libraries(${name} PUBLIC cohort_torch)
    cohort_torch_pch(${name})
  endif()
endfunction()

# cohort_program(NAME SOURCES … LINKS … [TORCH]): an executable in build/bin.
function(cohort_program name)
  cmake_parse_arguments(A "TORCH" "" "SOURCES;LINKS" ${ARGN})
  add_executable(${name} ${A_SOURCES})
  target_compile_options(${name} PRIVATE ${COHORT_WARNINGS})
  target_link_libraries(${name} PRIVATE ${A_LINKS})
  if(A_TORCH)
    target_link_libraries(${name} PRIVATE cohort_torch)
    cohort_torch_pch(${name})
  endif()
endfunction()

# cohort_embed(OUT NAMESPACE SYMBOL FILE…): sets OUT to a source file that defines NAMESPACE::SYMBOL, a map from each file's name
# without ending to its text. What a program needs is then in the program, on whatever host it runs.
function(cohort_embed out namespace symbol)
  set(map "const std::map<std::string, std::string>")
  set(text "#include <map>\n#include <string>\nnamespace ${namespace} {\nextern ${map} ${symbol};\n${map} ${symbol} = {\n")
  foreach(path ${ARGN})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${path}")
    get_filename_component(name "${path}" NAME_WE)
    file(READ "${path}" body)
    string(APPEND text "{\"${name}\", R\"cohort(${body})cohort\"},\n")
  endforeach()
  string(APPEND text "};\n}  // namespace ${namespace}\n")
  set(source "${PROJECT_BINARY_DIR}/generated/${symbol}.cc")
  file(CONFIGURE OUTPUT "${source}" CONTENT "${text}" @ONLY)
  set(${out} "${source}" PARENT_SCOPE)
endfunction()

# cohort_test(NAME SOURCES … LINKS … [TORCH]): one GoogleTest program, NAME must end in _test.
function(cohort_test name)
  cmake_parse_arguments(A "TORCH" "" "SOURCES;LINKS" ${ARGN})
  add_executable(${name} ${A_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
  target_compile_options(${name} PRIVATE ${COHORT_WARNINGS})
  target_compile_definitions(${name} PRIVATE
    COHORT_SOURCE_DIR="${PROJECT_SOURCE_DIR}" COHORT_BIN_DIR="${CMAKE_BINARY_DIR}/bin")
  target_link_libraries(${name} PRIVATE ${A_LINKS} cohort_gtest)
  if(NOT A_TORCH AND NOT COHORT_SANITIZE)
    target_compile_options(${name} PRIVATE -O0)  # the code under test is optimised; its tests need not be
  endif()
  if(A_TORCH)
    target_link_libraries(${name} PRIVATE cohort_torch)
    cohort_torch_pch(${name})
  endif()
  add_test(NAME ${name} COMMAND ${name})
endfunction()

# The one precompiled header for files that include Torch: 32 s a file without it, 14 s with it.
function(cohort_torch_pch target)
  # -fpch-preprocess lets ccache see into the header; -fPIC for programs too, as a header compiled for libraries is refused
  # under a program's -fPIE
  target_compile_options(${target} PRIVATE -fpch-preprocess -fPIC)
  target_precompile_headers(${target} REUSE_FROM cohort_torch_header)
endfunction()
file(WRITE "${CMAKE_BINARY_DIR}/generated/torch_header.cc" "")
add_library(cohort_torch_header STATIC "${CMAKE_BINARY_DIR}/generated/torch_header.cc")
target_link_libraries(cohort_torch_header PUBLIC cohort_torch Threads::Threads)
target_compile_options(cohort_torch_header PRIVATE ${COHORT_WARNINGS} -fpch-preprocess)
target_precompile_headers(cohort_torch_header PRIVATE <torch/torch.h>)
