// Lays out the package with the native library of this platform, as a release would publish it:
// node platform.mjs <bindings/node> <library> <into>; prints the folder.
import { cpSync, copyFileSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const [packageFolder, library, into] = process.argv.slice(2)
const glibc = process.report.getReport().header.glibcVersionRuntime !== undefined
const libc = process.platform === 'linux' ? (glibc ? 'glibc' : 'musl') : undefined

const fits = ({ os, cpu, libc: wanted }) =>
  os.includes(process.platform) && cpu.includes(process.arch) && (wanted === undefined || wanted.includes(libc))

const found = readdirSync(join(packageFolder, 'npm'))
  .map((name) => join(packageFolder, 'npm', name))
  .map((folder) => ({ folder, manifest: JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) }))
  .filter(({ manifest }) => fits(manifest))
if (found.length !== 1) {
  throw new Error(`${found.length} packages are for ${process.platform} ${process.arch} ${libc ?? ''}`)
}
const [{ folder, manifest }] = found
const laidOut = join(into, 'platform')
cpSync(folder, laidOut, { recursive: true })
copyFileSync(library, join(laidOut, manifest.main))
console.log(laidOut)
