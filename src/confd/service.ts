/**
 * `margay confd` as a service: renders on every change and hands each family to its BIRD. One family's
 * fault leaves the other alone; what failed is tried again, and nothing that worked is taken away.
 */
import { bgpModel, birdConfig, type BgpModel, type BgpOptions, type BgpState } from "#bgp";
import { logger } from "#log";
import { MargayError, messageOf } from "#std";
import { Target, type TargetOptions } from "./target.ts";
import { TemplateFile } from "./templates/file.ts";
import { keyView } from "./templates/keys.ts";
import type { TemplateResource } from "./templates/resource.ts";

const log = logger("confd");

const FAMILIES = [4, 6] as const;

export interface ServiceOptions extends Omit<TargetOptions, "family"> {
  readonly model: BgpOptions;
  /** The user's own. */
  readonly templates?: readonly TemplateResource[];
  /** Between attempts at what failed, and between looks at password files, ms. */
  readonly retryMs?: number;
}

export class ConfdService {
  readonly #options: ServiceOptions;
  readonly #targets: Readonly<Record<4 | 6, Target>>;
  readonly #templates: readonly TemplateFile[];
  #state: BgpState | undefined;
  #wake = Promise.withResolvers<void>();
  #failed = false;
  /** Those that the last rendering asked for. */
  readonly #passwords = new Map<string, { name: string; key: string; value: string | undefined }>();
  readonly #complaints = new Map<string, string>();

  constructor(options: ServiceOptions) {
    this.#options = options;
    this.#targets = {
      4: new Target({ ...options, family: 4 }),
      6: new Target({ ...options, family: 6 }),
    };
    this.#templates = (options.templates ?? []).map(
      (resource) => new TemplateFile(resource, options.keepStageFile ?? false),
    );
  }

  /** The state may go on changing; it is looked at when its turn comes. */
  changed(state: BgpState): void {
    this.#state = state;
    this.#wake.resolve();
  }

  /** Until the signal aborts. Never throws for what files, BIRD or objects may be like. */
  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener("abort", () => this.#wake.resolve(), { once: true });
    while (!signal.aborted) {
      const woken = await this.#sleep();
      if (signal.aborted || this.#state === undefined) continue;
      if (woken || this.#failed || this.#passwordsChanged()) await this.render(this.#state);
      await this.#reload();
    }
  }

  /** Whether somebody called; false when it is time to look again. */
  async #sleep(): Promise<boolean> {
    const isIdle = !this.#failed && this.#passwords.size === 0 && !this.#needsReload();
    let timer: NodeJS.Timeout | undefined;
    const tick = new Promise<false>((resolve) => {
      if (!isIdle) timer = setTimeout(resolve, this.#options.retryMs ?? 1000, false);
    });
    const woken = await Promise.race([this.#wake.promise.then(() => true), tick]);
    clearTimeout(timer);
    if (woken) this.#wake = Promise.withResolvers();
    return woken;
  }

  #needsReload(): boolean {
    return (
      this.#state !== undefined && FAMILIES.some((family) => this.#targets[family].needsReload)
    );
  }

  /** Files have no notification that survives how Kubernetes replaces them. */
  #passwordsChanged(): boolean {
    const look = this.#options.model.secrets;
    return [...this.#passwords.values()].some(
      ({ name, key, value }) => look?.(name, key) !== value,
    );
  }

  #lookUp(name: string, key: string): string | undefined {
    const value = this.#options.model.secrets?.(name, key);
    this.#passwords.set(JSON.stringify([name, key]), { name, key, value });
    return value;
  }

  /** Writes BIRD's files and the user's. Returns what went wrong, one line each. */
  async render(state: BgpState): Promise<readonly string[]> {
    this.#passwords.clear();
    const model = bgpModel(state, {
      ...this.#options.model,
      secrets: (name, key) => this.#lookUp(name, key),
    });
    this.#tell("model", model.warnings.join("; "), "not all is as the objects say");
    const faults: string[] = [];
    for (const family of FAMILIES) {
      this.#tellOmitted(model, family);
      const fault = await this.#write(model, family);
      if (fault !== undefined) faults.push(fault);
    }
    faults.push(...(await this.#writeTemplates(state, model)));
    this.#failed = faults.length > 0;
    return faults;
  }

  async #write(model: BgpModel, family: 4 | 6): Promise<string | undefined> {
    const target = this.#targets[family];
    const hasSecrets = model.families[family].peers.some((peer) => peer.password !== undefined);
    try {
      const changed = await target.write(birdConfig(model, family), hasSecrets);
      if (changed) {
        log.info("configuration written", {
          path: target.path,
          peers: model.families[family].peers.length,
        });
      }
      return undefined;
    } catch (error) {
      if (error instanceof MargayError && error.kind === "bug") throw error;
      this.#tell(`write ${family}`, messageOf(error), "the configuration is not replaced");
      return messageOf(error);
    }
  }

  async #writeTemplates(state: BgpState, model: BgpModel): Promise<string[]> {
    if (this.#templates.length === 0) return [];
    const view = keyView(state, model);
    const faults: string[] = [];
    for (const template of this.#templates) {
      const topic = `template ${template.resource.file}`;
      try {
        await template.update(view);
        this.#tell(topic, "", "");
      } catch (error) {
        if (!(error instanceof MargayError) || error.kind === "bug") throw error;
        this.#tell(topic, messageOf(error), "a file of the user's is not as its template says");
        faults.push(messageOf(error));
      }
    }
    return faults;
  }

  async #reload(): Promise<void> {
    await Promise.all(
      FAMILIES.map(async (family) => {
        const target = this.#targets[family];
        if (!target.needsReload) return;
        try {
          await target.reload();
          this.#tell(`reload ${family}`, "", "");
        } catch (error) {
          this.#tell(
            `reload ${family}`,
            messageOf(error),
            "BIRD has not read the new configuration",
          );
        }
      }),
    );
  }

  #tellOmitted(model: BgpModel, family: 4 | 6): void {
    const text = model.families[family].omitted
      .map(({ what, origin, reason }) => `${what} (${origin}): ${reason}`)
      .join("; ");
    this.#tell(`omitted ${family}`, text, "peers are left out");
  }

  /** Each state of affairs once. */
  #tell(topic: string, detail: string, message: string): void {
    if ((this.#complaints.get(topic) ?? "") === detail) return;
    this.#complaints.set(topic, detail);
    if (detail !== "") log.warn(message, { detail });
  }
}
