# Writes a C++ file with the page's files in it: cmake -DOUT=page_files.cpp -DWEB=folder "-DFILES=index.html;app.js" -P embed.cmake
# Paths, types and entity tags are settled here, so that nothing is left to do at run time.
set(TYPE_html "text/html; charset=utf-8")
set(TYPE_css "text/css; charset=utf-8")
set(TYPE_js "text/javascript; charset=utf-8")
set(TYPE_svg "image/svg+xml")

set(arrays "")
set(table "")
set(index 0)
foreach(file IN LISTS FILES)
  get_filename_component(extension "${file}" LAST_EXT)
  string(SUBSTRING "${extension}" 1 -1 extension)
  if(NOT DEFINED TYPE_${extension})
    message(FATAL_ERROR "embed.cmake knows no content type for ${file}")
  endif()
  set(path "/assets/${file}")
  if(file STREQUAL "index.html")
    set(path "/")
  endif()
  file(READ "${WEB}/${file}" bytes HEX)
  file(SHA256 "${WEB}/${file}" tag)
  string(SUBSTRING "${tag}" 0 20 tag)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
  string(REGEX REPLACE "(....................................................................................................)" "\\1\n    " bytes "${bytes}")
  string(APPEND arrays "constexpr unsigned char kFile${index}[] = {\n    ${bytes}};\n")
  string(APPEND table "    {\"${path}\", \"${TYPE_${extension}}\", \"${tag}\", text(kFile${index})},\n")
  math(EXPR index "${index} + 1")
endforeach()

file(WRITE "${OUT}" "// Made by embed.cmake from daemon/web.
#include \"serve/page_files.h\"

namespace topkd {
namespace {

template <std::size_t N>
std::string_view text(const unsigned char (&bytes)[N]) {
    return {reinterpret_cast<const char*>(bytes), N};
}

${arrays}
const PageFile kFiles[] = {
${table}};

}  // namespace

std::span<const PageFile> page_files() {
    return kFiles;
}

}  // namespace topkd
")
