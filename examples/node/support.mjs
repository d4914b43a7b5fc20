// A small model behind real HTTP on loopback, in OpenAI's wire format, for machines without a provider's key.
//
// It computes its answer from the request: it asks the tool for the issue whose number it reads in the conversation,
// then labels it by the words that occur in it.

import { once } from 'node:events'
import { createServer } from 'node:http'

/** Starts the model on a free port. It keeps no process alive, and ends with it. */
export async function loopbackModel() {
  const server = createServer(async (request, response) => {
    try {
      await answer(request, response)
    } catch {
      // A client that goes away in the middle is no concern of the model.
      response.destroy()
    }
  })
  server.listen(0, '127.0.0.1').unref()
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the model has no port')
  return `http://127.0.0.1:${address.port}/v1`
}

/** @param {import('node:http').IncomingMessage} incoming @param {import('node:http').ServerResponse} response */
async function answer(incoming, response) {
  let body = ''
  for await (const piece of incoming.setEncoding('utf8')) body += piece
  const request = JSON.parse(body)
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  const head = { id: `chatcmpl-loopback-${request.messages.length}`, object: 'chat.completion.chunk', created: 0, model: request.model }
  /** @param {object[]} choices @param {object | null} usage */
  const event = (choices, usage = null) => response.write(`data: ${JSON.stringify({ ...head, choices, usage })}\n\n`)
  /** @param {object} delta @param {string | null} reason */
  const choice = (delta, reason = null) => [{ index: 0, delta, finish_reason: reason }]

  const { number, text } = think(request.messages)
  let written = 0
  if (number !== undefined) {
    const args = JSON.stringify({ number })
    written += args.length
    const call = { index: 0, id: `call_${number}`, type: 'function', function: { name: 'lookup_issue', arguments: args } }
    event(choice({ role: 'assistant', content: null, tool_calls: [call] }))
    event(choice({}, 'tool_calls'))
  } else {
    for (const word of text.split(/(?<= )/)) {
      written += word.length
      event(choice({ content: word }))
    }
    event(choice({}, 'stop'))
  }
  const [prompt, completion] = [Math.floor(body.length / 4), Math.floor(written / 4) + 1]
  event([], { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion })
  response.end('data: [DONE]\n\n')
}

/**
 * What the model makes of the conversation: an issue to look up, or something to say.
 *
 * @param {{ role: string, content: string }[]} messages
 * @returns {{ number?: number, text: string }}
 */
function think(messages) {
  const found = messages.findLast(({ role }) => role === 'tool')
  if (found) return { text: summary(found.content) }
  const asked = messages.findLast(({ role }) => role === 'user')?.content ?? ''
  // The first number after a `#` is the issue's.
  const number = /#(\d+)/.exec(asked)?.[1]
  return number ? { number: Number(number), text: '' } : { text: 'There is no issue number to look up.' }
}

/** @type {[string, string[]][]} */
const LABELS = [
  ['bug', ['bug', 'error', 'fail', 'crash', 'panic', 'broken', 'wrong', 'typo', 'spelling', 'regression']],
  ['documentation', ['doc', 'readme', 'typo', 'spelling', 'guide', 'example']],
  ['feature', ['feature', 'support', 'add ', 'allow', 'request', 'would be']],
  ['question', ['how ', 'why ', 'question', '?', 'help']],
]

/** @param {string} text */
function summary(text) {
  let issue
  try {
    issue = JSON.parse(text)
  } catch {
    issue = { title: text }
  }
  const { title = 'untitled', body, state = 'open', comments = 0, number } = issue
  const description = body ?? ''
  const words = `${title}\n${description}`.toLowerCase()
  let [label, best] = ['triage', 0]
  for (const [name, known] of LABELS) {
    const score = known.filter((word) => words.includes(word)).length
    if (score > best) [label, best] = [name, score]
  }
  const count = description.split(/\s+/).filter(Boolean).length
  return `[${label}] ${title}\nIssue ${number} is ${state}, with ${comments} comments and ${count} words of description.`
}
