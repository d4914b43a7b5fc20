'use strict'
// Connectors of the host's own: a description, and a function per operation.

const { InvalidInputError } = require('./errors.cjs')
const { checker, jsonSchema } = require('./host.cjs')

const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value)

/** A connector of the host's own. */
class Connector {
  constructor(spec, operations) {
    this.name = spec.name
    this.spec = spec
    this.operations = operations
    Object.freeze(this)
  }
}

/** Makes a connector from what it is, how it proves who asks, and what it can do. */
function connector(definition) {
  if (!isObject(definition)) throw new InvalidInputError('a connector is described by an object')
  const { operations, auth = [], credentials = {}, settings = {}, ...rest } = definition
  if (typeof rest.name !== 'string') throw new InvalidInputError('a connector has a `name`')
  for (const [key, value] of Object.entries({ operations, credentials, settings })) {
    if (!isObject(value)) throw new InvalidInputError(`\`${key}\` of the connector \`${rest.name}\` is not an object`)
  }
  const ways = (Array.isArray(auth) ? auth : [auth]).map((way) => (typeof way === 'string' ? { type: way } : way))
  const fields = Object.entries(credentials).map(([name, about]) => ({ name, about }))
  const made = Object.entries(operations).map(([name, given]) => operation(rest.name, name, given))
  const spec = {
    ...rest,
    auth: fields.length ? [...ways, { type: 'own', fields }] : ways,
    settings: Object.fromEntries(Object.entries(settings).map(([name, about]) => [
      name, typeof about === 'string' ? { type: 'string', description: about } : about,
    ])),
    operations: made.map((one) => one.spec),
  }
  // Without a prototype: the names are the host's own.
  const runs = Object.assign(Object.create(null), Object.fromEntries(made.map((one) => [one.spec.name, one.run])))
  return new Connector(spec, runs)
}

function operation(connectorName, name, given) {
  const what = `the operation \`${name}\` of \`${connectorName}\``
  if (!isObject(given)) throw new InvalidInputError(`${what} is not an object`)
  const { run, schema, output, ...rest } = given
  if (typeof run !== 'function') throw new InvalidInputError(`${what} has no function \`run\``)
  const input = schema ?? { type: 'object', properties: {}, additionalProperties: false }
  const check = checker(input)
  return {
    spec: {
      ...rest, name,
      inputSchema: jsonSchema(`the schema of ${what}`, input),
      ...(output === undefined ? {} : { outputSchema: jsonSchema(`the output of ${what}`, output) }),
    },
    run: check ? async (args, call) => run(await check(args), call) : run,
  }
}

module.exports = { Connector, connector }
