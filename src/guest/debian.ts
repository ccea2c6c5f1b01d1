/**
 * Fetches and unpacks Debian packages as any user: apt with its own state, cache and copy of the machine's package sources.
 * Nothing is installed. Unpacked packages stay in the cache folder, each made beside its place and then renamed.
 */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { GuestError } from './errors.ts';
import { run } from './run.ts';

export type Progress = (line: string) => void;

export interface PackageInfo {
  readonly name: string;
  readonly version: string;
  /** Names that Depends and Pre-Depends list, first alternatives only. */
  readonly depends: readonly string[];
  readonly bytes: number;
}

const GUEST_ARCHITECTURE = 'amd64';
const HOST_ARCHITECTURES: Record<string, string> = {
  x64: 'amd64',
  arm64: 'arm64',
  riscv64: 'riscv64',
  ppc64: 'ppc64el',
  s390x: 's390x',
};
const OWN_KERNEL_HINT = 'give the domain a kernel of your own (kernel = "/path/to/vmlinuz", ramdisk = ...)';

export class DebianPackages {
  private readonly cacheDir: string;
  private readonly progress: Progress;
  private readonly sourcesDir: string;
  private readonly architectures: readonly string[];
  private apt: Promise<string> | undefined;

  /** `sourcesDir` is the machine's own /etc/apt; `architectures` besides the domains' and the machine's own. */
  constructor(
    cacheDir: string,
    progress: Progress = () => {},
    { sourcesDir = '/etc/apt', architectures = [] as readonly string[] } = {},
  ) {
    this.cacheDir = cacheDir;
    this.progress = progress;
    this.sourcesDir = sourcesDir;
    this.architectures = architectures;
  }

  /** What apt would install for `name`, which may be `name:architecture`. */
  async info(name: string): Promise<PackageInfo> {
    const { stdout } = await run('apt-cache', [...(await this.aptOptions()), 'show', '--no-all-versions', name], {
      purpose: `looking up the package ${name}`,
    });
    const field = (key: string) => new RegExp(`^${key}: (.*)$`, 'm').exec(stdout)?.[1] ?? '';
    const depends = `${field('Pre-Depends')}, ${field('Depends')}`
      .split(',')
      .map((one) => one.trim().split(/[\s(:|]/)[0])
      .filter(Boolean);
    return { name, version: field('Version'), depends, bytes: Number(field('Size')) };
  }

  /** The folder with the package's files. */
  async unpacked({ name, version, bytes }: PackageInfo): Promise<string> {
    const place = join(this.cacheDir, 'packages', `${name}_${version}`.replaceAll(':', '%3a'));
    if (existsSync(place)) return place;
    await mkdir(join(this.cacheDir, 'packages'), { recursive: true });
    const temporary = await mkdtemp(`${place}.new-`);
    try {
      const download = join(temporary, 'download');
      const tree = join(temporary, 'tree');
      await mkdir(download);
      this.progress(`fetching ${name} ${version} (${(bytes / 1e6).toFixed(1)} MB)`);
      await run('apt-get', [...(await this.aptOptions()), '-q', 'download', `${name}=${version}`], {
        cwd: download,
        purpose: `fetching the package ${name}`,
      });
      const [file] = await readdir(download);
      if (!file) throw new GuestError(`fetching the package ${name}: apt delivered nothing`);
      this.progress(`unpacking ${name}`);
      await run('dpkg-deb', ['-x', join(download, file), tree], { purpose: `unpacking the package ${name}` });
      await renameUnlessThere(tree, place);
    } finally {
      await rm(temporary, { recursive: true, force: true });
    }
    return place;
  }

  /** Removes apt's lists; the unpacked packages stay. */
  async close(): Promise<void> {
    const config = await this.apt?.catch(() => undefined);
    if (config) await rm(join(config, '..'), { recursive: true, force: true });
    this.apt = undefined;
  }

  private async aptOptions(): Promise<string[]> {
    this.apt ??= this.prepareApt();
    return ['-c', await this.apt];
  }

  /** A state of our own, for this process only: two preparations at once must not wait for each other's locks. */
  private async prepareApt(): Promise<string> {
    const release = await osRelease();
    if (release.ID !== 'debian' || !onPath('apt-get') || !onPath('dpkg-deb')) {
      const system = release.PRETTY_NAME ?? release.ID ?? process.platform;
      throw new GuestError(
        `kernels are fetched from Debian's packages, and this machine runs ${system}: ${OWN_KERNEL_HINT}`,
      );
    }
    await mkdir(this.cacheDir, { recursive: true });
    const dir = await mkdtemp(join(this.cacheDir, 'apt-'));
    try {
      for (const part of ['state/lists/partial', 'cache/archives/partial', 'sources.d', 'preferences.d']) {
        await mkdir(join(dir, part), { recursive: true });
      }
      await this.copySources(join(dir, 'sources.d'), release.VERSION_CODENAME);
      await writeFile(join(dir, 'sources.list'), '');
      const config = join(dir, 'apt.conf');
      await writeFile(config, aptConfig(dir, this.architectures));
      this.progress('reading the lists of packages');
      const update = run('apt-get', ['-c', config, '-q', 'update'], { purpose: 'reading the lists of packages' });
      // A list of a further architecture that a mirror lacks leaves the others, and a package that is in none is told of.
      if (this.architectures.length === 0) await update;
      else await update.catch((error: Error) => this.progress(error.message));
      return config;
    } catch (error) {
      await rm(dir, { recursive: true, force: true });
      if (error instanceof GuestError)
        throw new GuestError(`${error.message}; without a package source, ${OWN_KERNEL_HINT}`);
      throw error;
    }
  }

  private async copySources(to: string, codename: string | undefined): Promise<void> {
    const parts = await readdir(join(this.sourcesDir, 'sources.list.d')).catch(() => []);
    const files = ['sources.list', ...parts.map((name) => join('sources.list.d', name))];
    const texts = new Map<string, string>();
    for (const file of files) {
      if (/\.(list|sources)$/.test(file)) {
        texts.set(file.replaceAll('/', '-'), await readFile(join(this.sourcesDir, file), 'utf8').catch(() => ''));
      }
    }
    const chosen = [...texts].map(([name, text]) => [name, sourcesOf(text, name, codename)]);
    const found = chosen.some(([, text]) => text !== '');
    for (const [name, text] of found ? chosen : texts) await writeFile(join(to, name), text);
  }
}

/** Drops the sources of other vendors: they cannot have what we want, and one that is unreachable would stop us. */
export function sourcesOf(text: string, file: string, codename: string | undefined): string {
  const isDebian = (suite: string) => {
    const base = suite.split(/[-/]/)[0];
    return base === codename || ['oldstable', 'stable', 'testing', 'unstable', 'sid'].includes(base);
  };
  if (file.endsWith('.sources')) {
    const kept = text.split(/\n[ \t]*\n/).filter((stanza) => {
      const suites = /^Suites:(.*)$/m.exec(stanza)?.[1].trim().split(/\s+/) ?? [];
      return suites.some(isDebian);
    });
    return kept.length > 0 ? `${kept.join('\n\n')}\n` : '';
  }
  const kept = text.split('\n').filter((line) => {
    const suite = /^\s*deb\s+(?:\[[^\]]*\]\s+)?\S+\s+(\S+)/.exec(line)?.[1];
    return suite !== undefined && isDebian(suite);
  });
  return kept.map((line) => `${line}\n`).join('');
}

/** Read after the machine's own configuration, so that proxies keep working and hooks meant for root do not run. */
function aptConfig(dir: string, more: readonly string[]): string {
  const host = HOST_ARCHITECTURES[process.arch] ?? GUEST_ARCHITECTURE;
  const architectures = [...new Set([GUEST_ARCHITECTURE, host, ...more])].map((name) => `"${name}";`).join(' ');
  return [
    '#clear APT::Architectures;',
    '#clear APT::Update::Pre-Invoke;',
    '#clear APT::Update::Post-Invoke;',
    '#clear APT::Update::Post-Invoke-Success;',
    '#clear Acquire::IndexTargets::deb::Contents-deb;',
    `APT::Architecture "${GUEST_ARCHITECTURE}";`,
    `APT::Architectures { ${architectures} };`,
    'APT::Sandbox::User "root";', // As root, apt would fetch as a user who may not enter our folder.
    'Acquire::Languages "none";',
    'Acquire::Retries "3";',
    `Dir::State "${dir}/state";`,
    `Dir::State::lists "${dir}/state/lists";`,
    `Dir::Cache "${dir}/cache";`,
    `Dir::Etc::sourcelist "${dir}/sources.list";`,
    `Dir::Etc::sourceparts "${dir}/sources.d";`,
    '',
  ].join('\n');
}

export async function osRelease(file = '/etc/os-release'): Promise<Record<string, string>> {
  const text = await readFile(file, 'utf8').catch(() => '');
  const pairs = text.split('\n').map((line) => /^(\w+)="?(.*?)"?$/.exec(line));
  return Object.fromEntries(pairs.flatMap((pair) => (pair ? [[pair[1], pair[2]]] : [])));
}

/** The path of a program; ordinary users often lack the sbin folders on theirs. */
export function onPath(program: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin', '/usr/bin', '/bin'];
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
}

/** Who comes second uses what the first one made: the same package has the same files. */
export async function renameUnlessThere(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (!existsSync(to)) throw error;
  }
}
