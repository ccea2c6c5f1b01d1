/** A domain's log files and the locks of its disks have its name. When it gets another, its monitor gives them that one too. */
import { consoleLog, monitorLog, recordsDir } from '../host/paths.ts';
import { PROTOCOL_ALIVE } from '../monitor/protocol.ts';
import type { Domain } from './domain.ts';
import { logLine, type XendPorts } from './ports.ts';
import { saveRecord } from './record.ts';

/**
 * Moves the files, if the domain had another name when they were opened. Its record says so until it is done: a xend that is
 * killed meanwhile asks again, for what the monitor has done already. Files that cannot be moved keep their name.
 */
export async function moveLogs(domain: Domain, ports: XendPorts): Promise<void> {
  const { record, link, status, name } = domain;
  if (record.loggedAs === undefined || !link || (status?.protocol ?? 0) < PROTOCOL_ALIVE) return;
  try {
    const { paths } = ports;
    await link.call('relog', { name, consoleLog: consoleLog(paths, name), monitorLog: monitorLog(paths, name) });
  } catch (error) {
    return logLine(ports, 'WARNING', `domain ${domain.domid} "${name}": its log files: ${(error as Error).message}`);
  }
  delete record.loggedAs;
  saveRecord(recordsDir(ports.paths), record);
}
