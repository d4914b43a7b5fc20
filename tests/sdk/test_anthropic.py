"""The official library of Anthropic against the gateway."""

import anthropic
import pytest
from pydantic import BaseModel

HI = [{"role": "user", "content": "hi there"}]
WEATHER = {"name": "weather", "description": "The weather", "input_schema":
           {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}


class Person(BaseModel):
    name: str
    age: int


def test_messages(claude):
    answer = claude.messages.create(model="echo", max_tokens=64, system="Be brief.", messages=HI)
    assert (answer.content[0].text, answer.stop_reason) == ("You said: hi there", "end_turn")
    usage = answer.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (8, 4, 7)
    assert answer._request_id


def test_messages_streamed(claude):
    with claude.messages.stream(model="echo", max_tokens=64, messages=HI) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text.strip() == "You said: hi there" and final.content[0].text == text
    assert (final.stop_reason, final.usage.input_tokens, final.usage.output_tokens) == ("end_turn", 8, 7)
    events = list(claude.messages.create(model="echo", max_tokens=64, messages=HI, stream=True))
    assert events[0].type == "message_start" and events[-1].type == "message_stop"


@pytest.mark.parametrize("prompt, cities", [("Paris?", ["Paris"]), ("Paris and Oslo?", ["Paris", "Oslo"])])
@pytest.mark.parametrize("streamed", [False, True])
def test_tools(claude, prompt, cities, streamed):
    messages = [{"role": "user", "content": prompt}]
    request = {"model": "echo", "max_tokens": 64, "tools": [WEATHER]}
    if streamed:
        with claude.messages.stream(messages=messages, **request) as stream:
            answer = stream.get_final_message()
    else:
        answer = claude.messages.create(messages=messages, **request)
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert answer.stop_reason == "tool_use" and [call.input for call in calls] == [{"city": city} for city in cities]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "20"} for call in calls]
    turn = [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.input} for call in calls]
    messages += [{"role": "assistant", "content": turn}, {"role": "user", "content": results}]
    answer = claude.messages.create(messages=messages, **request)
    assert answer.content[0].text == "It is " + " and ".join("20" for _ in cities)


def test_structured_output(claude):
    answer = claude.messages.parse(model="echo", max_tokens=64, messages=HI, output_format=Person)
    assert answer.parsed_output == Person(name="Ada", age=36)


def test_models(claude):
    assert "echo" in [model.id for model in claude.models.list()]
    assert claude.models.retrieve("echo").type == "model"


def test_typed_errors(claude):
    def refused(kind, **request):
        with pytest.raises(kind) as caught:
            request = {"model": "echo", "max_tokens": 64, "messages": HI, **request}
            claude.with_options(max_retries=0).messages.create(**request)
        assert "secret" not in str(caught.value)
        return caught.value

    bad = refused(anthropic.BadRequestError, max_tokens=0)
    assert bad.body["error"]["message"].startswith("`max_tokens`: ")
    assert refused(anthropic.BadRequestError, model="invalid").body["error"]["type"] == "invalid_request_error"
    limited = refused(anthropic.RateLimitError, model="throttled")
    assert float(limited.response.headers["retry-after"]) > 0
    assert refused(anthropic.InternalServerError, model="broken").status_code >= 500
    assert refused(anthropic.NotFoundError, model="nobody/x").body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.AuthenticationError):
        claude.with_options(api_key="apk_wrong").messages.create(model="echo", max_tokens=64, messages=HI)


def test_a_stream_that_breaks_is_an_error(claude):
    with pytest.raises(anthropic.APIError):
        with claude.messages.stream(model="cut", max_tokens=64, messages=HI) as stream:
            list(stream)
