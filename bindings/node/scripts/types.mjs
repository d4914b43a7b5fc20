// Writes `types.d.ts`, the records and arguments of the package, from the schemas of the native half.
//
//     node scripts/types.mjs [--check]

import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const target = new URL('../types.d.ts', import.meta.url)
const require = createRequire(import.meta.url)
const schema = JSON.parse(require('../native.cjs').schema())

const HEAD = `// Records and arguments as the platform describes them. Made by \`scripts/types.mjs\`; do not edit.

/** Any JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

/** A part of a list. */
export interface Page<T> {
  /** The items. */
  items: T[]
  /** Where the next page begins; null on the last one. */
  next: string | null
}
`

const camel = (name) => name.replace(/_+([a-z0-9])/g, (_, letter) => letter.toUpperCase())

/** A definition's page type is \`Page\` of what it lists. */
const listed = (name) => (name.endsWith('Page') ? name.slice(0, -4) : undefined)

/** Definitions that are the arguments of an operation, which are options beside what a method takes by place. */
const operations = new Set(Object.values(schema.operations).map(({ arguments: given }) => given.$ref?.split('/').pop()))

const isObject = (type) => Boolean(type.properties ?? type.oneOf?.some((variant) => variant.properties))

/** What a definition is called: arguments that share a name with an answer, or are an operation's, say so. */
function named(name, side) {
  if (listed(name) && side === 'answers') return `Page<${named(listed(name), side)}>`
  if (side === 'arguments' && isObject(schema.arguments[name])) {
    if (operations.has(name)) return `${name}Arguments`
    if (schema.answers[name] && JSON.stringify(schema.answers[name]) !== JSON.stringify(schema.arguments[name])) {
      return `${name}Input`
    }
  }
  return name
}

const comment = (text, indent = '') => {
  if (!text) return ''
  const lines = text.replaceAll('*/', '* /').replace(/\[(`[^`]+`)\](?:\([^)]*\))?/g, '$1').split('\n')
  if (lines.length === 1) return `${indent}/** ${lines[0]} */\n`
  return `${indent}/**\n${lines.map((line) => `${indent} * ${line}`.trimEnd()).join('\n')}\n${indent} */\n`
}

const union = (types) => [...new Set(types)].join(' | ')

function type(given, side, indent = '') {
  if (given === true || Object.keys(given).every((key) => ['description', 'default', 'title'].includes(key))) return 'Json'
  if (given.$ref) return named(given.$ref.split('/').pop(), side)
  if (given.const !== undefined) return `'${given.const}'`
  if (given.enum) return union(given.enum.map((value) => `'${value}'`))
  const choices = given.anyOf ?? given.oneOf
  if (choices && !given.properties) return union(choices.map((choice) => type(choice, side, indent)))
  if (Array.isArray(given.type)) return union(given.type.map((one) => type({ ...given, type: one }, side, indent)))
  switch (given.type) {
    case 'string': return 'string'
    case 'integer': case 'number': return 'number'
    case 'boolean': return 'boolean'
    case 'null': return 'null'
    case 'array': {
      const items = type(given.items ?? true, side, indent)
      return / \| /.test(items) ? `(${items})[]` : `${items}[]`
    }
    case 'object': return object(given, side, indent)
    default: throw new Error(`no type for ${JSON.stringify(given)}`)
  }
}

function object(given, side, indent) {
  const { properties } = given
  if (!properties) {
    const values = given.additionalProperties
    return `Record<string, ${values && values !== true ? type(values, side, indent) : 'Json'}>`
  }
  // Names that are data, such as those of meters, are not renamed.
  if (Object.keys(properties).some((name) => name.includes('.'))) {
    const keys = union(Object.keys(properties).map((name) => `'${name}'`))
    return `Partial<Record<${keys}, ${type(Object.values(properties)[0], side, indent)}>>`
  }
  return `{\n${fields(given, side, `${indent}  `)}${indent}}`
}

function fields(given, side, indent) {
  return Object.entries(given.properties).map(([name, field]) => {
    const needed = given.required?.includes(name)
    return `${comment(field.description, indent)}${indent}${camel(name)}${needed ? '' : '?'}: ${type(field, side, indent)}\n`
  }).join('')
}

const kinds = new Map()

/** The kinds of a record that says in one field which it is: an interface each, and their union. */
function variants(name, given, side) {
  const [tag] = Object.entries(given.oneOf[0].properties).find(([, field]) => field.const !== undefined)
  const base = name.replace(/^Run(?=Event)/, '').replace(/Input$/, '')
  const made = given.oneOf.map((variant) => {
    const kind = variant.properties[tag].const
    const whole = {
      properties: { ...variant.properties, ...given.properties },
      required: [...(variant.required ?? []), ...(given.required ?? [])],
    }
    const body = `{\n${fields(whole, side, '  ')}}\n`
    const short = camel(`_${kind}`) + base
    // What is the same on both sides is one interface.
    const own = (kinds.get(short) ?? body) === body ? short : `${short}Input`
    if (kinds.get(own) === body) return { own, text: '' }
    kinds.set(own, body)
    return { own, text: `${comment(variant.description)}export interface ${own} ${body}` }
  })
  const all = `${comment(given.description)}export type ${name} =\n${made.map(({ own }) => `  | ${own}`).join('\n')}\n`
  return [all, ...made.map(({ text }) => text).filter(Boolean)].join('\n')
}

function definition(name, given, side) {
  const own = named(name, side)
  if (given.oneOf?.every((variant) => variant.properties) && given.oneOf.length > 1) {
    const tagged = Object.values(given.oneOf[0].properties).some((field) => field.const !== undefined)
    if (tagged) return variants(own, given, side)
  }
  if (given.properties && !Object.keys(given.properties).some((key) => key.includes('.'))) {
    return `${comment(given.description)}export interface ${own} {\n${fields(given, side, '  ')}}\n`
  }
  return `${comment(given.description)}export type ${own} = ${type(given, side)}\n`
}

const parts = new Map()
for (const side of ['answers', 'arguments']) {
  for (const [name, given] of Object.entries(schema[side])) {
    if (name === 'Nothing' || (side === 'answers' && listed(name))) continue
    const own = named(name, side)
    if (!parts.has(own)) parts.set(own, definition(name, given, side))
  }
}
const text = [HEAD, ...[...parts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, part]) => part)].join('\n')

if (!process.argv.includes('--check')) {
  writeFileSync(target, text)
} else if (readFileSync(target, 'utf8') !== text) {
  console.error('types.d.ts is not what scripts/types.mjs makes of the native half; run it and look at the difference')
  process.exit(1)
}
