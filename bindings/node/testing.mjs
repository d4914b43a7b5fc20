import testing from './testing.cjs'

export const { ScriptedModel, ManualClock } = testing
