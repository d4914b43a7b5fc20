'use strict'

const { Platform } = require('./lib/platform.cjs')
const { Context, OperatorContext } = require('./lib/context.cjs')
const { tool, model } = require('./lib/host.cjs')
const { connector } = require('./lib/connector.cjs')
const { Run, Session, Outcome } = require('./lib/run.cjs')
const { AgentProvisionError, classes } = require('./lib/errors.cjs')

const errors = Object.fromEntries(Object.values(classes).map((Class) => [Class.name, Class]))

module.exports = {
  Platform, Context, OperatorContext, tool, model, connector, Run, Session, Outcome,
  AgentProvisionError, ...errors,
}
