// Everything the facade offers is here, under the names of `bindings/parity.toml`.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { test } from 'node:test'

import * as agentprovision from '../index.mjs'

const native = createRequire(import.meta.url)('../native.cjs')
const read = (path) => readFileSync(new URL(path, import.meta.url), 'utf8')

function section(name) {
  const body = read('../../parity.toml').split(`[${name}]\n`)[1].split('\n[')[0]
  return [...body.matchAll(/^"?([\w.]+)"? = \{ python = "[^"]+", node = "([^"]+)" \}$/gm)].map(([, key, node]) => [key, node])
}

test('every operation is there, in JavaScript and in its types', async () => {
  const operations = section('operations')
  assert.ok(operations.length > 50)
  const platform = await agentprovision.Platform.open()
  const types = read('../index.d.ts')
  for (const [operation, path] of operations) {
    const names = path.split('.')
    const method = names.reduce((from, name) => from?.[name], platform)
    assert.equal(typeof method, 'function', operation)
    const home = names.length === 1 ? 'Platform' : names[0][0].toUpperCase() + names[0].slice(1)
    const declared = types.match(new RegExp(`export (?:class|interface) ${home}\\b[^{]*\\{([\\s\\S]*?)\\n\\}`))
    assert.ok(declared, `index.d.ts declares no ${home}`)
    assert.match(declared[1], new RegExp(`\\b${names.at(-1)}[(<]`), `${operation} is in no type`)
  }
  await platform.close()
})

test('every kind of error has its class', () => {
  const kinds = section('errors')
  assert.deepEqual(kinds.map(([code]) => code), JSON.parse(native.errorKinds()))
  const types = read('../errors.d.ts')
  for (const [code, name] of kinds) {
    assert.equal(agentprovision[name]?.code, code)
    assert.ok(agentprovision[name].prototype instanceof agentprovision.AgentProvisionError, name)
    assert.match(types, new RegExp(`export class ${name} `))
  }
})
