/* Stands in for Talos where a boot medium is proven: it walks the steps of Talos' own /init up to
 * the point where Talos reads its machine config, tells what it finds, and powers off.
 *
 * What it takes from the medium it takes the way Talos does, so that a medium which Talos would not
 * boot from is not taken here either. Source: Talos v1.13, `internal/app/init/main.go`, and
 * `internal/app/machined/pkg/controllers/config/acquire.go`.
 *
 * Not here: measuring into a TPM, the check of the processor's level, SELinux' policy.
 */
#include <string.h>

#include "stages.h"

int main(int count, char **arguments)
{
	if (count > 0 && strcmp(arguments[0], "/sbin/init") == 0)
		run_machined();
	run_init();
}
