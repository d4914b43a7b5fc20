'use strict'
// Finds the native half: the one built here, else that of the platform's package.

const { existsSync } = require('node:fs')
const { join } = require('node:path')

function musl() {
  // What the report says of the network takes time, and is not asked for.
  process.report.excludeNetwork = true
  return !process.report.getReport().header.glibcVersionRuntime
}

function target() {
  const { platform, arch } = process
  switch (platform) {
    case 'linux':
      return `linux-${arch}-${musl() ? 'musl' : 'gnu'}`
    case 'win32':
      return `win32-${arch}-msvc`
    default:
      return `${platform}-${arch}`
  }
}

function load() {
  const local = join(__dirname, 'native.node')
  if (existsSync(local)) return require(local)
  const name = `@agentprovision/native-${target()}`
  try {
    return require(name)
  } catch (cause) {
    if (cause.code !== 'MODULE_NOT_FOUND') throw cause
    throw new Error(
      `agentprovision has no native module for this machine: install the package ${name}, or build it from a clone with ` +
        '`npm run build` in bindings/node (needs Rust)',
      { cause },
    )
  }
}

module.exports = load()
