// The official library of OpenAI for Node against the gateway. `GATEWAY` names the built example `llm_gateway`.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import OpenAI from 'openai'
import { zodResponseFormat } from 'openai/helpers/zod'
import { z } from 'zod'

const messages = [{ role: 'user', content: 'hi there' }]
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }
const tools = [{ type: 'function', function: { name: 'weather', parameters } }]

let process_
let client
let served

before(async () => {
  const serve = fileURLToPath(new URL('serve.py', import.meta.url))
  process_ = spawn('python3', [serve, process.env.GATEWAY], { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = once(process_, 'exit').then(([code]) => [`{"ended": ${code}}`])
  const [line] = await Promise.race([once(createInterface({ input: process_.stdout }), 'line'), ended])
  served = JSON.parse(line)
  assert.equal(served.ended, undefined, 'the gateway did not start')
  client = new OpenAI({ baseURL: `${served.base_url}/v1`, apiKey: served.key, timeout: 20_000 })
})

after(async () => {
  const ended = once(process_, 'exit')
  process_.stdin.end()
  assert.equal((await ended)[0], 0)
})

test('chat', async () => {
  const answer = await client.chat.completions.create({ model: 'echo', messages })
  assert.equal(answer.choices[0].message.content, 'You said: hi there')
  assert.equal(answer.usage.total_tokens, 19)
})

test('chat, streamed', async () => {
  let text = ''
  const stream = await client.chat.completions.create({ model: 'echo', messages, stream: true })
  for await (const chunk of stream) text += chunk.choices[0].delta.content ?? ''
  assert.equal(text.trim(), 'You said: hi there')
})

for (const streamed of [false, true]) {
  test(`parallel tools, ${streamed ? 'streamed' : 'whole'}`, async () => {
    const conversation = [{ role: 'user', content: 'Paris and Oslo?' }]
    const request = { model: 'echo', messages: conversation, tools }
    const answer = streamed
      ? await client.chat.completions.stream(request).finalChatCompletion()
      : await client.chat.completions.create(request)
    const { message, finish_reason } = answer.choices[0]
    assert.equal(finish_reason, 'tool_calls')
    const cities = message.tool_calls.map((call) => JSON.parse(call.function.arguments).city)
    assert.deepEqual(cities, ['Paris', 'Oslo'])
    conversation.push({ role: 'assistant', content: message.content, tool_calls: message.tool_calls.map(
      ({ id, type, function: { name, arguments: text } }) => ({ id, type, function: { name, arguments: text } })) })
    for (const call of message.tool_calls) conversation.push({ role: 'tool', tool_call_id: call.id, content: '20' })
    const last = await client.chat.completions.create({ model: 'echo', messages: conversation, tools })
    assert.equal(last.choices[0].message.content, 'It is 20 and 20')
  })
}

test('structured output', async () => {
  const Person = z.object({ name: z.string(), age: z.number() })
  const answer = await client.chat.completions.parse({
    model: 'echo', messages, response_format: zodResponseFormat(Person, 'person'),
  })
  assert.deepEqual(answer.choices[0].message.parsed, { name: 'Ada', age: 36 })
})

test('responses, whole and streamed', async () => {
  const answer = await client.responses.create({ model: 'echo', input: 'hi there' })
  assert.equal(answer.output_text, 'You said: hi there')
  const stream = client.responses.stream({ model: 'echo', input: 'hi there' })
  const kinds = []
  for await (const event of stream) kinds.push(event.type)
  assert.equal(kinds[0], 'response.created')
  assert.equal(kinds.at(-1), 'response.completed')
  const final = await stream.finalResponse()
  assert.equal(final.output_text.trim(), 'You said: hi there')
})

test('embeddings', async () => {
  for (const more of [{}, { encoding_format: 'float' }]) {
    const answer = await client.embeddings.create({ model: 'upstream/small', input: ['a', 'bcd'], ...more })
    assert.deepEqual(answer.data.map((item) => [...item.embedding]), [[1, -0.5], [3, -0.5]])
  }
})

test('models', async () => {
  const names = []
  for await (const model of client.models.list()) names.push(model.id)
  assert.ok(names.includes('echo'))
})

test('typed errors', async () => {
  const once_ = { maxRetries: 0 }
  const ask = (more, options = once_) => client.chat.completions.create({ model: 'echo', messages, ...more }, options)
  await assert.rejects(ask({ temperature: 'hot' }), (error) =>
    error instanceof OpenAI.BadRequestError && error.param === 'temperature')
  await assert.rejects(ask({ model: 'limited' }), (error) =>
    error instanceof OpenAI.RateLimitError && Number(error.headers.get('retry-after')) > 0)
  await assert.rejects(ask({ model: 'nobody/x' }), OpenAI.NotFoundError)
  await assert.rejects(ask({ model: 'broken' }), OpenAI.InternalServerError)
  const stranger = new OpenAI({ baseURL: `${served.base_url}/v1`, apiKey: 'apk_wrong' })
  await assert.rejects(stranger.chat.completions.create({ model: 'echo', messages }), OpenAI.AuthenticationError)
})

test('a stream that breaks is an error', async () => {
  const stream = await client.chat.completions.create({ model: 'cut', messages, stream: true })
  await assert.rejects(async () => { for await (const _ of stream); }, OpenAI.APIError)
})
