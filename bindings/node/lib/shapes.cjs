'use strict'
// Which keys of arguments and answers are those of records, read from the schemas of the native half: an operation or
// a field that is added there needs nothing here.

const native = require('../native.cjs')
const { camel } = require('./json.cjs')

let loaded
const schemas = () => (loaded ??= JSON.parse(native.schema()))

/** A shape: what the keys of a value are called on both sides. Made when it is first looked at, for schemas refer to themselves. */
class Shape {
  #side
  #schema
  #made

  constructor(side, schema) {
    this.#side = side
    this.#schema = schema
  }

  get given() { return this.#parts().given }
  get answered() { return this.#parts().answered }
  get items() { return this.#parts().items }
  get values() { return this.#parts().values }
  get id() { return this.#parts().id }
  get secret() { return this.#parts().secret }

  #parts() {
    if (!this.#made) {
      this.#made = {}
      gather(this.#side, this.#schema, this.#made)
    }
    return this.#made
  }
}

const known = { arguments: new Map(), answers: new Map() }

const named = (side, reference) => schemas()[side][reference.slice(reference.lastIndexOf('/') + 1)] ?? {}

function shape(side, schema) {
  if (schema === null || typeof schema !== 'object') return undefined
  const { $ref: reference } = schema
  if (!reference) return new Shape(side, schema)
  if (!known[side].has(reference)) known[side].set(reference, new Shape(side, named(side, reference)))
  return known[side].get(reference)
}

function gather(side, schema, into) {
  if (schema === null || typeof schema !== 'object') return
  if (schema.$ref) gather(side, named(side, schema.$ref), into)
  for (const part of ['allOf', 'anyOf', 'oneOf']) {
    for (const variant of schema[part] ?? []) gather(side, variant, into)
  }
  if (schema.format === 'id') into.id = true
  if (schema.format === 'secret') into.secret = true
  if (schema.items) into.items = shape(side, schema.items)
  const { additionalProperties: values } = schema
  if (values !== null && typeof values === 'object' && Object.keys(values).length) into.values = shape(side, values)
  for (const [name, inner] of Object.entries(schema.properties ?? {})) {
    into.given ??= new Map()
    into.answered ??= new Map()
    const inside = shape(side, inner)
    into.given.set(camel(name), { name, shape: inside })
    into.answered.set(name, { name: camel(name), shape: inside })
  }
}

const shapes = new Map()

/** The shapes of an operation's arguments and answer, and the names its messages may use. */
function of(operation) {
  let found = shapes.get(operation)
  if (!found) {
    const entry = schemas().operations[operation] ?? {}
    found = { args: shape('arguments', entry.arguments), answer: shape('answers', entry.answer) }
    shapes.set(operation, found)
  }
  return found
}

/** The shape of a record that is given or answered, by its name. */
const given = (name) => shape('arguments', { $ref: `#/$defs/${name}` })
const answered = (name) => shape('answers', { $ref: `#/$defs/${name}` })

/** A message of the native half, with the names of keys as they are here. Whatever else it quotes stays as it is. */
function translate(message) {
  const ofConfiguration = message.startsWith('the configuration:') && !message.includes('unknown variant')
  return message.replace(/`([a-z][a-z0-9_.[\]]*)`/g, (quoted, path) => {
    const known = () => path.split(/[.[\]]+/).every((part) => !part.includes('_') || names().has(part))
    const ours = ofConfiguration || path.startsWith('engine.') || known()
    return ours && !schemas().operations[path] ? camel(quoted) : quoted
  })
}

let keys
function names() {
  if (!keys) {
    keys = new Set()
    const visit = (value) => {
      if (value === null || typeof value !== 'object') return
      if (value.properties && !Array.isArray(value.properties)) Object.keys(value.properties).forEach((key) => keys.add(key))
      Object.values(value).forEach(visit)
    }
    visit(schemas().arguments)
  }
  return keys
}

module.exports = { of, given, answered, translate, schemas }
