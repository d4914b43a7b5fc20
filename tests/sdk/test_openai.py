"""The official library of OpenAI against the gateway."""

import json

import openai
import pytest
from pydantic import BaseModel

HI = [{"role": "user", "content": "hi there"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
              "additionalProperties": False}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "The weather", "parameters": PARAMETERS}}
IMAGE = "data:image/png;base64,iVBORw0KGgo="


class Person(BaseModel):
    name: str
    age: int


def test_chat(client):
    answer = client.chat.completions.create(model="echo", messages=HI, temperature=0.5, user="u-1")
    choice = answer.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("You said: hi there", "stop")
    assert (answer.usage.total_tokens, answer.usage.prompt_tokens_details.cached_tokens) == (19, 4)
    assert answer._request_id and answer.id.startswith("chatcmpl-")
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": IMAGE}}]
    answer = client.chat.completions.create(model="echo", messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content == "You said: see image_url"


def test_chat_streamed(client):
    chunks = list(client.chat.completions.create(model="echo", messages=HI, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).strip() == "You said: hi there"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="echo", messages=HI, stream=True, stream_options=options))
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 19)
    with client.chat.completions.stream(model="echo", messages=HI) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content.strip() == "You said: hi there"


@pytest.mark.parametrize("prompt, cities", [("Paris?", ["Paris"]), ("Paris and Oslo?", ["Paris", "Oslo"])])
@pytest.mark.parametrize("streamed", [False, True])
def test_tools(client, prompt, cities, streamed):
    messages = [{"role": "user", "content": prompt}]
    if streamed:
        with client.chat.completions.stream(model="echo", messages=messages, tools=[WEATHER]) as stream:
            answer = stream.get_final_completion()
    else:
        answer = client.chat.completions.create(model="echo", messages=messages, tools=[WEATHER])
    choice = answer.choices[0]
    calls = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert [json.loads(call.function.arguments)["city"] for call in calls] == cities
    messages.append(choice.message.model_dump(exclude_none=True) if streamed else choice.message)
    if streamed:
        for call in messages[-1]["tool_calls"]:
            call.pop("index", None)
            call["function"].pop("parsed_arguments", None)
    messages += [{"role": "tool", "tool_call_id": call.id, "content": f"{city}: 20"} for call, city in zip(calls, cities)]
    answer = client.chat.completions.create(model="echo", messages=messages, tools=[WEATHER])
    assert answer.choices[0].message.content == "It is " + " and ".join(f"{city}: 20" for city in cities)


def test_structured_output(client):
    answer = client.chat.completions.parse(model="echo", messages=HI, response_format=Person)
    assert answer.choices[0].message.parsed == Person(name="Ada", age=36)
    answer = client.responses.parse(model="echo", input="who?", text_format=Person)
    assert answer.output_parsed == Person(name="Ada", age=36)


def test_responses(client):
    answer = client.responses.create(model="echo", input="hi there", instructions="Be brief.")
    assert (answer.output_text, answer.status, answer.instructions) == ("You said: hi there", "completed", "Be brief.")
    assert (answer.usage.total_tokens, answer.usage.input_tokens_details.cached_tokens) == (19, 4)
    conversation = [{"role": "user", "content": "hi"}, *answer.output, {"role": "user", "content": "again"}]
    assert client.responses.create(model="echo", input=conversation).output_text == "You said: again"


def test_responses_streamed(client):
    with client.responses.stream(model="echo", input="hi there") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created" and events[-1].type == "response.completed"
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == final.output_text and said.strip() == "You said: hi there"
    assert final.usage.total_tokens == 19


@pytest.mark.parametrize("streamed", [False, True])
def test_responses_tools(client, streamed):
    tool = {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": True}
    asked = [{"role": "user", "content": "Paris and Oslo?"}]
    if streamed:
        with client.responses.stream(model="echo", input=asked, tools=[tool]) as stream:
            answer = stream.get_final_response()
    else:
        answer = client.responses.create(model="echo", input=asked, tools=[tool])
    calls = [item for item in answer.output if item.type == "function_call"]
    assert [json.loads(call.arguments)["city"] for call in calls] == ["Paris", "Oslo"]
    for call in calls:
        asked.append({"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments})
    asked += [{"type": "function_call_output", "call_id": call.call_id, "output": "20"} for call in calls]
    assert client.responses.create(model="echo", input=asked, tools=[tool]).output_text == "It is 20 and 20"


def test_embeddings(client):
    # The library asks for base64 where nothing is said.
    for more in ({}, {"encoding_format": "float"}):
        answer = client.embeddings.create(model="upstream/small", input=["a", "bcd"], **more)
        assert [item.embedding for item in answer.data] == [[1.0, -0.5], [3.0, -0.5]]
        assert answer.usage.total_tokens == 3
    packed = client.embeddings.create(model="upstream/small", input="a", encoding_format="base64")
    assert packed.data[0].embedding == "AACAPwAAAL8="


def test_models(client):
    assert "echo" in [model.id for model in client.models.list()]
    assert client.models.retrieve("echo").id == "echo"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("of/nobody")


def test_typed_errors(client):
    def refused(kind, **request):
        with pytest.raises(kind) as caught:
            client.with_options(max_retries=0).chat.completions.create(**{"model": "echo", "messages": HI, **request})
        assert "secret" not in str(caught.value) and "secret" not in str(caught.value.response.headers)
        return caught.value

    bad = refused(openai.BadRequestError, temperature="hot")
    assert (bad.param, bad.code) == ("temperature", "invalid_input")
    assert refused(openai.BadRequestError, model="invalid").status_code == 400
    limited = refused(openai.RateLimitError, model="limited")
    assert limited.code == "rate_limit_exceeded" and float(limited.response.headers["retry-after"]) > 0
    assert refused(openai.InternalServerError, model="broken").status_code >= 500
    assert refused(openai.NotFoundError, model="nobody/x").code == "model_not_found"
    with pytest.raises(openai.AuthenticationError) as caught:
        client.with_options(api_key="apk_wrong").chat.completions.create(model="echo", messages=HI)
    assert caught.value.code == "invalid_api_key"


def test_a_stream_that_breaks_is_an_error(client):
    with pytest.raises(openai.APIError) as caught:
        list(client.chat.completions.create(model="cut", messages=HI, stream=True))
    assert "complete" in caught.value.message
    with pytest.raises(openai.APIError):
        list(client.responses.create(model="cut", input="hi there", stream=True))
