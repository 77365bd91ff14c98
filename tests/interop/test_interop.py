"""The credential-free gRPC interop cases with grpcio on both sides: through the proxy as without it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from tests.interop import testing_pb2
from tests.interop.cases import CASES, Case
from tests.interop.client import InteropClient
from tests.support.process import ROOT


@pytest.fixture(scope="module")
def direct(direct_address: str) -> Iterator[InteropClient]:
    with InteropClient(direct_address) as client:
        yield client


@pytest.fixture(scope="module")
def proxied(proxied_address: str) -> Iterator[InteropClient]:
    with InteropClient(proxied_address) as client:
        yield client


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_proxied_equals_direct(case: Case, direct: InteropClient, proxied: InteropClient) -> None:
    assert case(proxied) == case(direct)


def test_the_committed_messages_are_those_of_the_proto_file(tmp_path: Path) -> None:
    compiled = tmp_path / "testing.binpb"
    source = "tests/interop/testing.proto"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--descriptor_set_out={compiled}", source]
    subprocess.run(command, cwd=ROOT, check=True)
    (file,) = FileDescriptorSet.FromString(compiled.read_bytes()).file
    for message in file.message_type:
        for field in message.field:
            field.ClearField("json_name")  # generated code leaves out the names that follow from the others
    assert file == FileDescriptorProto.FromString(testing_pb2.DESCRIPTOR.serialized_pb)
