"""Tenants as files: exported, verified, restored, and backed up."""

from __future__ import annotations

from pathlib import Path

import pytest
from agentprovision import (
    AlreadyExistsError,
    ConflictError,
    CorruptError,
    InvalidInputError,
    NotFoundError,
    Platform,
    UnavailableError,
    UnsupportedError,
)
from agentprovision import sync as blocking
from support import ON_SERVER, agent, answers, blocking_agent, blocking_home, home, store_in


@pytest.mark.anyio
async def test_a_tenant_is_exported_deleted_and_restored(tmp_path: Path) -> None:
    file = tmp_path / "acme.archive"
    async with Platform.open(store_in(tmp_path), models=[answers("done", "again")]) as platform:
        acme, other = await home(platform), await home(platform, "globex")
        made = await agent(platform, acme.ctx)
        run = await platform.runs.start(acme.ctx, made, "go")
        assert (await run.wait()).text == "done"
        operator = platform.operator("ops@host.example", reason="moving house")
        summary = await platform.archives.export(operator, acme.tenant, file)
        assert (summary.header.tenant, summary.header.store) == (acme.tenant.id, "postgres" if ON_SERVER else "sqlite")
        assert summary.rows == sum(table.rows for table in summary.tables)
        assert summary.bytes == file.stat().st_size and file.stat().st_mode & 0o777 == 0o600
        assert await platform.archives.verify(operator, str(file)) == summary
        with pytest.raises(AlreadyExistsError):
            await platform.archives.export(operator, acme.tenant, file)
        with pytest.raises(ConflictError):
            await platform.archives.restore(operator, file)
        gone = await platform.tenants.delete(operator, acme.tenant, archive=tmp_path / "last.archive")
        assert gone.state == "deleted"
        with pytest.raises(NotFoundError):
            await platform.archives.export(operator, acme.tenant, tmp_path / "late")
        back = await platform.archives.restore(operator, file)
        assert (back.tenant.id, back.tenant.state, back.archive) == (acme.tenant.id, "suspended", summary)
        new = await platform.archives.restore(operator, file, into="new")
        assert new.tenant.id != acme.tenant.id and new.tenant.domain is None
        await platform.tenants.resume(operator, acme.tenant)
        ctx = await platform.context(acme.tenant, acme.ctx.user)
        assert (await platform.runs.record(ctx, run.id)).status == "completed"
        again = await platform.runs.start(ctx, made.id, "more")
        assert (await again.wait()).text == "again"
        actions = [entry.record.action for entry in await platform.audit.platform_entries(operator) if entry.record]
        assert actions.count("archives.export") == 2 and actions.count("archives.restore") == 2
        await platform.audit.verify_platform(operator)
        assert (await platform.tenants.get(operator, other.tenant)) == other.tenant
        broken = bytearray(file.read_bytes())
        broken[len(broken) // 2] ^= 1
        file.write_bytes(broken)
        with pytest.raises(CorruptError):
            await platform.archives.verify(operator, file)
        with pytest.raises(NotFoundError):
            await platform.archives.verify(operator, tmp_path / "none")


@pytest.mark.anyio
async def test_a_tenant_is_backed_up(tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    backups = {"folder": str(folder), "keep": 2}
    async with Platform.open(store_in(tmp_path), backups=backups) as platform:
        acme = await home(platform)
        operator = platform.operator("ops@host.example", reason="a backup")
        with pytest.raises(UnavailableError):
            await platform.backups.run(operator, acme.tenant)
        [failed] = (await platform.backups.list(operator, acme.tenant)).items
        assert (failed.state, failed.error, failed.digest) == ("failed", "unavailable", None)
        folder.mkdir()
        for number in (2, 3, 4):
            made = await platform.backups.run(operator, acme.tenant)
            assert (made.state, made.number, made.slot, made.error) == ("completed", number, None, None)
        assert await platform.backups.get(operator, acme.tenant, made) == made
        kept = [backup async for backup in platform.backups.iterate(operator, acme.tenant, limit=1)]
        assert [backup.number for backup in kept] == [3, 4]
        assert {path.name for path in folder.iterdir()} == {backup.name for backup in kept}
        summary = await platform.archives.verify(operator, folder / made.name)
        assert (summary.digest, summary.rows, summary.bytes) == (made.digest, made.rows, made.bytes)
        restored = await platform.archives.restore(operator, folder / made.name, into="new")
        assert (await platform.backups.list(operator, restored.tenant)).items == []
        with pytest.raises(NotFoundError):
            await platform.backups.get(operator, restored.tenant, made.id)
        with pytest.raises(InvalidInputError):
            await platform.backups.list(operator, acme.tenant, limit=0)


@pytest.mark.anyio
async def test_backups_are_made_on_a_schedule(tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    async with Platform.open(store_in(tmp_path)) as platform:
        acme = await home(platform)
        operator = platform.operator("ops@host.example", reason="a look")
        with pytest.raises(UnsupportedError):
            await platform.backups.run(operator, acme.tenant)
    backups = {"folder": str(folder), "every_s": 86_400, "keep": 3, "patience_s": 60}
    async with Platform.open(store_in(tmp_path), backups=backups) as platform:
        operator = platform.operator("ops@host.example", reason="a look")
        while not [one for one in (await platform.backups.list(operator, acme.tenant)).items if one.finished_at]:
            pass
        [made] = (await platform.backups.list(operator, acme.tenant)).items
        assert made.state == "completed" and made.slot is not None and made.slot <= made.started_at
    for bad in ({"folder": ""}, {"folder": "f", "keep": 0}, {"folder": "f", "every_s": 0}, {"folder": "f", "each": 1}):
        with pytest.raises(InvalidInputError):
            await Platform.open(backups=bad)


def test_the_blocking_twin_does_all_that_too(tmp_path: Path) -> None:
    folder, file = tmp_path / "backups", tmp_path / "acme.archive"
    folder.mkdir()
    with blocking.Platform.open(store_in(tmp_path), models=[answers("done")], backups={"folder": str(folder)}) as platform:
        acme = blocking_home(platform)
        blocking_agent(platform, acme.ctx)
        operator = platform.operator("ops@host.example", reason="a test")
        summary = platform.archives.export(operator, acme.tenant, file)
        assert platform.archives.verify(operator, file) == summary
        made = platform.backups.run(operator, acme.tenant)
        assert list(platform.backups.iterate(operator, acme.tenant)) == [platform.backups.get(operator, acme.tenant, made)]
        assert platform.archives.restore(operator, folder / made.name, into="new").tenant.state == "suspended"
    with blocking.Platform.open() as platform:
        acme = blocking_home(platform)
        operator = platform.operator("ops@host.example", reason="a test")
        with pytest.raises(UnsupportedError):
            platform.archives.export(operator, acme.tenant, tmp_path / "none")
        assert not (tmp_path / "none").exists()
