"""The gateway under test: `GATEWAY` names the built example `llm_gateway`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import anthropic
import openai
import pytest


@pytest.fixture(scope="session")
def served():
    command = [sys.executable, str(Path(__file__).with_name("serve.py")), os.environ["GATEWAY"]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield json.loads(process.stdout.readline())
        process.stdin.close()
        assert process.wait(timeout=30) == 0


@pytest.fixture
def client(served):
    with openai.OpenAI(base_url=f"{served['base_url']}/v1", api_key=served["key"], timeout=20) as client:
        yield client


@pytest.fixture
def claude(served):
    with anthropic.Anthropic(base_url=served["base_url"], api_key=served["key"], timeout=20) as client:
        yield client
