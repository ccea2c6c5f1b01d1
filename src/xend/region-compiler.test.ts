import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { RegionFolder } from '../host/regions/kept.ts';
import { keepRegions, regionVersion, wantedFiles } from '../host/regions/kept-files.ts';
import { codeCanBeKept } from '../host/v8-code.ts';
import { TestMachine } from '../translate/region/machine-for-tests.ts';
import { loops, randomProgram } from '../translate/region/program-for-tests.ts';
import { monitorFlags } from './monitor-link.ts';
import { RegionCompiler } from './region-compiler.ts';

const VERSION = 'v1';
const HERE = fileURLToPath(new URL('../host/regions/kept-files.ts', import.meta.url));

/** Leaves the regions of a program of chance in `folder`. */
function translate(folder: string, seed: number): void {
  const kept = new RegionFolder(folder, VERSION, (regions) => keepRegions(folder, VERSION, regions));
  const machine = new TestMachine(1, false, { kept });
  const { code, registers, flags } = randomProgram(seed);
  machine.load(code, registers, flags);
  machine.run(() => 1_000_000);
  machine.engine.keepRegions(1);
}

async function eventually(what: string, holds: () => boolean): Promise<void> {
  for (let k = 0; k < 600; k++) {
    if (holds()) return;
    await sleep(50);
  }
  assert.fail(what);
}

const skip = codeCanBeKept() ? false : 'machine code cannot be had from this V8';

test('there is soon machine code that a monitor takes for all that domains have translated, and for what comes later', {
  skip,
}, async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'region-compiler-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const regions = path.join(folder, 'regions');
  mkdirSync(regions);
  translate(regions, 5001);
  const compiler = new RegionCompiler(regions);
  t.after(() => compiler.stop());
  const made = (): number => readdirSync(regions).filter((name) => name.endsWith('.code')).length;
  await eventually('the first file has its code', () => made() === 1);
  translate(regions, 5002);
  await eventually('so has the second', () => made() === 2);
  // What a domain wants for later ones is made as well.
  const warm = new TestMachine(10_000, false, { kept: new RegionFolder(regions, regionVersion(), () => {}), warm: 50 });
  const { code, registers, flags } = loops([1, 2, 3]);
  warm.load(code, registers, flags);
  warm.run(() => 1_000_000);
  while (warm.engine.planWarm());
  assert.ok(wantedFiles(regions, regionVersion()).length > 0);
  await eventually('what is wanted is there', () => made() > 2 && wantedFiles(regions, regionVersion()).length === 0);
  // As a monitor sees it.
  const script = `const { uncompiled } = await import(${JSON.stringify(HERE)}); console.log(uncompiled(${JSON.stringify(regions)}).length);`;
  const args = [...monitorFlags(), '--input-type=module', '-e', script];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  assert.equal(stdout.trim(), '0');
});
