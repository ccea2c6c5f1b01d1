/** Other people's programs, unmodified, out of Debian's packages in the cache: unpacked without root, never installed. */
import { globSync } from 'node:fs';
import path from 'node:path';
import { DebianPackages } from '../../src/guest/debian.ts';
import { GuestError } from '../../src/guest/errors.ts';
import { guestCache } from '../../src/host/paths.ts';

/** Programs and the libraries that they need of Xen. */
export const XENSTORE_TOOLS = ['xenstore-utils', 'libxenstore4', 'libxentoolcore1'];

/** The unpacked package, or why there is none: then its tests are skipped. */
export async function debianPackage(
  ...names: string[]
): Promise<{ folders: string[]; skip: false } | { folders: undefined; skip: string }> {
  const cache = guestCache();
  const packages = new DebianPackages(cache);
  try {
    const folders: string[] = [];
    // One that is in the cache will do, whatever its version: asking for the newest takes a network and seconds.
    for (const name of names) folders.push(cached(cache, name) ?? (await packages.unpacked(await packages.info(name))));
    return { folders, skip: false };
  } catch (error) {
    if (!(error instanceof GuestError)) throw error;
    return { folders: undefined, skip: `${names.join(', ')} cannot be fetched: ${error.message}` };
  } finally {
    await packages.close();
  }
}

function cached(cache: string, name: string): string | undefined {
  return globSync(path.join(cache, 'packages', `${name}_*`)).findLast((folder) => !folder.includes('.new-'));
}

/** What a program needs in its environment to run out of unpacked packages: its own folders on the paths. */
export function pathsIn(folders: readonly string[]): { PATH: string; LD_LIBRARY_PATH: string } {
  const within = (...parts: string[]) => folders.flatMap((folder) => parts.map((part) => path.join(folder, part)));
  return {
    PATH: [...within('usr/bin', 'usr/sbin'), process.env.PATH ?? ''].join(path.delimiter),
    LD_LIBRARY_PATH: within('usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu').join(path.delimiter),
  };
}
