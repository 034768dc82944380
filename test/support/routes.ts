import type { IpFamily } from "#ip";
import type { Route, RouteKernel } from "#netlink";

/** The main table's routes. */
export function allRoutes(kernel: RouteKernel, family: IpFamily): Route[] {
  const routes: Route[] = [];
  kernel.routes(family, (route) => routes.push(route));
  return routes;
}
