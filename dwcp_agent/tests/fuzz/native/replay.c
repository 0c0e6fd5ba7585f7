/* Runs every file it is given through a target, where no fuzzer is. */
#include "target.h"

int main(int argc, char **argv)
{
    enum { MOST = 1 << 20 };
    uint8_t *content = malloc(MOST);
    if (!content)
        return 2;
    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (!file) {
            fprintf(stderr, "%s cannot be opened\n", argv[i]);
            return 2;
        }
        const size_t size = fread(content, 1, MOST, file);
        fclose(file);
        fprintf(stderr, "%s\n", argv[i]); /* before, so that a crash has a name */
        LLVMFuzzerTestOneInput(content, size);
    }
    free(content);
    return 0;
}
