// Builds the native half from the clone this package is in, and puts it where native.cjs looks first.
//
// AGENTPROVISION_PROFILE names the cargo profile; default `release`.

import { execFileSync } from 'node:child_process'
import { copyFileSync, renameSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = join(dirname(fileURLToPath(import.meta.url)), '..')
if (['pack', 'publish'].includes(process.env.npm_command)) {
  // What is packed has no native half: that is in the packages of the platforms.
  process.exit(0)
}
const profile = process.env.AGENTPROVISION_PROFILE || 'release'
const output = execFileSync(
  process.env.CARGO || 'cargo',
  ['build', '--package', 'agentprovision-node', '--profile', profile, '--message-format', 'json-render-diagnostics'],
  { cwd: here, stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 30, encoding: 'utf8' },
)
const library = output
  .split('\n')
  .filter((line) => line.startsWith('{'))
  .map((line) => JSON.parse(line))
  .filter((message) => message.reason === 'compiler-artifact' && message.target.name === 'agentprovision_node')
  .flatMap((message) => message.filenames)
  .find((file) => /\.(so|dylib|dll)$/.test(file))
if (!library) throw new Error('cargo built no library')
// A process that has the old one loaded keeps it.
const place = join(here, 'native.node')
copyFileSync(library, `${place}.new`)
renameSync(`${place}.new`, place)
console.log(`${library} is ${place}`)
