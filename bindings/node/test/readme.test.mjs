// The Node program of the README runs as it stands.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

test('the program of the README runs', () => {
  const readme = readFileSync(new URL('../../../README.md', import.meta.url), 'utf8')
  const program = readme.match(/```js\n([\s\S]*?)```/)[1]
  const folder = mkdtempSync(join(tmpdir(), 'agentprovision-'))
  try {
    mkdirSync(join(folder, 'node_modules'))
    symlinkSync(fileURLToPath(new URL('..', import.meta.url)), join(folder, 'node_modules', 'agentprovision'))
    writeFileSync(join(folder, 'program.mjs'), program)
    const ran = spawnSync(process.execPath, ['program.mjs'], { cwd: folder, encoding: 'utf8', timeout: 30_000 })
    assert.equal(ran.status, 0, ran.stderr)
    assert.match(ran.stdout, /It is on its way\./)
    assert.match(ran.stdout, /audit root [0-9a-f]{64}\n$/)
    assert.equal(ran.stderr, '')
  } finally {
    rmSync(folder, { recursive: true })
  }
})
