// A CUDA runtime without a GPU, preloaded under a real PyTorch built for CUDA. Device memory is host memory,
// copies are real, kernels do nothing, captures and graphs are kept as PyTorch's C++ sees them, and any call can be made to fail.
#include <cuda_runtime_api.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>
#include <functional>
#include <atomic>
#define E extern "C" __attribute__((visibility("default")))
using Err = cudaError_t;
struct Node { std::function<void()> run; };
struct Graph { std::vector<Node> nodes; };
struct Stream { int id; int capture = 0; /*0 none 1 active 2 invalid*/ unsigned long long cid = 0; Graph* graph = nullptr; int mode = 0; };
static std::recursive_mutex mu;
static std::map<void*, size_t> device, pinned;
static std::map<std::string, std::pair<int,int>> faults;   // name -> (calls to let pass, error)
static std::map<std::string, long> counts;
static std::vector<Stream*> streams;
static size_t used = 0, total = (size_t)2 << 30;
static int sticky = 0; static unsigned long long next_cid = 1;
static thread_local int last = 0; static thread_local int tmode = 0;
static std::atomic<long> kernels{0};
static bool trace = getenv("FAKE_TRACE") != nullptr;
static Err done(const char* n, int e) { if (e) last = e; if (trace && e) fprintf(stderr, "[fake] %s -> %d\n", n, e); return (Err)e; }
static int hit(const char* n) {
  std::lock_guard<std::recursive_mutex> g(mu); counts[n]++;
  if (sticky) return sticky;
  auto it = faults.find(n); if (it == faults.end()) return 0;
  if (it->second.first-- > 0) return 0;
  int e = it->second.second; faults.erase(it);
  if (e == 700 || e == 710 || e == 719 || e == 999) sticky = e;
  return e; }
#define IN if (int e_ = hit(__func__)) return done(__func__, e_)
E void fake_fail(const char* n, int pass, int e) { std::lock_guard<std::recursive_mutex> g(mu); faults[n] = {pass, e}; }
E void fake_clear() { std::lock_guard<std::recursive_mutex> g(mu); faults.clear(); sticky = 0; }
E long fake_count(const char* n) { std::lock_guard<std::recursive_mutex> g(mu); return counts[n]; }
E long fake_kernels() { return kernels; }
E size_t fake_used() { return used; }
E void fake_total(size_t b) { total = b; }
static Stream legacy{0};
static Stream* S(cudaStream_t s) { return (s == nullptr || s == (cudaStream_t)1 || s == (cudaStream_t)2) ? &legacy : (Stream*)s; }
static Err enqueue(cudaStream_t s, std::function<void()> f) {
  std::lock_guard<std::recursive_mutex> g(mu); Stream* x = S(s);
  if (x->capture == 2) return done("enqueue", 901);
  if (x->capture == 1) { x->graph->nodes.push_back({f}); return cudaSuccess; }
  f(); return cudaSuccess; }
static int invalidate_all() { int e = 0; for (auto* s : streams) if (s->capture == 1) { s->capture = 2; e = 900; } return e; }
// device
E Err cudaGetDeviceCount(int* n) { *n = 1; return cudaSuccess; }
E Err cudaGetDevice(int* d) { *d = 0; return cudaSuccess; }
E Err cudaSetDevice(int d) { return d ? done("cudaSetDevice", 101) : cudaSuccess; }
E Err cudaGetDeviceProperties(cudaDeviceProp* p, int) { memset(p, 0, sizeof *p); strcpy(p->name, "Fake GPU"); p->major = 8; p->minor = 6; p->multiProcessorCount = 16; p->totalGlobalMem = total;
  p->warpSize = 32; p->maxThreadsPerBlock = 1024; p->maxThreadsPerMultiProcessor = 2048; p->sharedMemPerBlock = 48 << 10; p->sharedMemPerMultiprocessor = 100 << 10; p->regsPerBlock = 65536; p->regsPerMultiprocessor = 65536; for (int i = 0; i < 3; i++) { p->maxThreadsDim[i] = 1024; p->maxGridSize[i] = 65535; } p->maxGridSize[0] = 2147483647; p->l2CacheSize = 4 << 20; p->memoryBusWidth = 128; p->unifiedAddressing = 1; return cudaSuccess; }
E Err cudaDeviceGetAttribute(int* v, cudaDeviceAttr a, int) { *v = a == cudaDevAttrComputeCapabilityMajor ? 8 : a == cudaDevAttrComputeCapabilityMinor ? 6 : a == cudaDevAttrMultiProcessorCount ? 16 : a == cudaDevAttrWarpSize ? 32 : a == cudaDevAttrMaxThreadsPerBlock ? 1024 : 0; return cudaSuccess; }
E Err cudaDeviceGetStreamPriorityRange(int* a, int* b) { *a = 0; *b = -5; return cudaSuccess; }
E Err cudaDeviceSynchronize() { IN; std::lock_guard<std::recursive_mutex> g(mu); return done("cudaDeviceSynchronize", invalidate_all()); }
E Err cudaDriverGetVersion(int* v) { *v = 13000; return cudaSuccess; }
E Err cudaRuntimeGetVersion(int* v) { *v = 13000; return cudaSuccess; }
E Err cudaDeviceGetPCIBusId(char* b, int n, int) { snprintf(b, n, "0000:00:00.0"); return cudaSuccess; }
E Err cudaDeviceCanAccessPeer(int* c, int, int) { *c = 0; return cudaSuccess; }
E Err cudaGetLastError() { int e = last; last = sticky ? sticky : 0; return (Err)e; }
E Err cudaPeekAtLastError() { return (Err)last; }
E const char* cudaGetErrorString(Err e) { switch ((int)e) { case 0: return "no error"; case 2: return "out of memory"; case 700: return "an illegal memory access was encountered"; case 710: return "device-side assert triggered"; case 719: return "unspecified launch failure"; case 900: return "operation not permitted when stream is capturing"; case 901: return "operation failed due to a previous error during capture"; case 999: return "unknown error"; default: return "fake error"; } }
E const char* cudaGetErrorName(Err e) { return "cudaErrorFake"; }
// memory
E Err cudaMalloc(void** p, size_t n) { IN; std::lock_guard<std::recursive_mutex> g(mu); if (used + n > total) return done("cudaMalloc", 2); *p = aligned_alloc(4096, (n + 4095) & ~size_t(4095)); memset(*p, 0, n); device[*p] = n; used += n; return cudaSuccess; }
E Err cudaFree(void* p) { IN; std::lock_guard<std::recursive_mutex> g(mu); if (!p) return cudaSuccess; for (auto* s : streams) if (s->capture == 1 && tmode != 2) { fprintf(stderr, "[fake] cudaFree in a capture\n"); } auto it = device.find(p); if (it == device.end()) return done("cudaFree", 1); used -= it->second; device.erase(it); free(p); return cudaSuccess; }
E Err cudaMemGetInfo(size_t* f, size_t* t) { *f = total - used; *t = total; return cudaSuccess; }
E Err cudaHostAlloc(void** p, size_t n, unsigned) { IN; std::lock_guard<std::recursive_mutex> g(mu); *p = aligned_alloc(4096, (n + 4095) & ~size_t(4095)); pinned[*p] = n; return cudaSuccess; }
E Err cudaFreeHost(void* p) { IN; std::lock_guard<std::recursive_mutex> g(mu); pinned.erase(p); free(p); return cudaSuccess; }
E Err cudaPointerGetAttributes(cudaPointerAttributes* a, const void* p) { std::lock_guard<std::recursive_mutex> g(mu); memset(a, 0, sizeof *a); a->type = cudaMemoryTypeUnregistered; auto in = [&](std::map<void*, size_t>& m) { auto it = m.upper_bound((void*)p); if (it == m.begin()) return false; --it; return (char*)p < (char*)it->first + it->second; }; if (in(device)) a->type = cudaMemoryTypeDevice; else if (in(pinned)) a->type = cudaMemoryTypeHost; a->devicePointer = a->hostPointer = (void*)p; return cudaSuccess; }
E Err cudaMemcpyAsync(void* d, const void* s, size_t n, cudaMemcpyKind, cudaStream_t st) { IN; return enqueue(st, [=] { memcpy(d, s, n); }); }
E Err cudaMemcpy(void* d, const void* s, size_t n, cudaMemcpyKind) { IN; memcpy(d, s, n); return cudaSuccess; }
E Err cudaMemsetAsync(void* d, int v, size_t n, cudaStream_t st) { IN; return enqueue(st, [=] { memset(d, v, n); }); }
E Err cudaMemset(void* d, int v, size_t n) { IN; memset(d, v, n); return cudaSuccess; }
// streams, events
E Err cudaStreamCreateWithPriority(cudaStream_t* s, unsigned, int) { IN; std::lock_guard<std::recursive_mutex> g(mu); auto* x = new Stream{(int)streams.size() + 1}; streams.push_back(x); *s = (cudaStream_t)x; return cudaSuccess; }
E Err cudaStreamCreate(cudaStream_t* s) { return cudaStreamCreateWithPriority(s, 0, 0); }
E Err cudaStreamCreateWithFlags(cudaStream_t* s, unsigned f) { return cudaStreamCreateWithPriority(s, f, 0); }
E Err cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
E Err cudaStreamGetPriority(cudaStream_t, int* p) { *p = 0; return cudaSuccess; }
E Err cudaStreamQuery(cudaStream_t) { IN; return cudaSuccess; }
E Err cudaStreamSynchronize(cudaStream_t s) { IN; std::lock_guard<std::recursive_mutex> g(mu); if (S(s)->capture == 1) { S(s)->capture = 2; return done(__func__, 900); } return cudaSuccess; }
E Err cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { IN; return cudaSuccess; }
E Err cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) { IN; *e = (cudaEvent_t)malloc(8); return cudaSuccess; }
E Err cudaEventCreate(cudaEvent_t* e) { return cudaEventCreateWithFlags(e, 0); }
E Err cudaEventDestroy(cudaEvent_t e) { IN; free(e); return cudaSuccess; }
E Err cudaEventRecord(cudaEvent_t, cudaStream_t) { IN; return cudaSuccess; }
E Err cudaEventRecordWithFlags(cudaEvent_t, cudaStream_t, unsigned) { IN; return cudaSuccess; }
E Err cudaEventQuery(cudaEvent_t) { IN; return cudaSuccess; }
E Err cudaEventSynchronize(cudaEvent_t) { IN; return cudaSuccess; }
E Err cudaEventElapsedTime(float* m, cudaEvent_t, cudaEvent_t) { *m = 1; return cudaSuccess; }
// captures, graphs
E Err cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode m) { IN; std::lock_guard<std::recursive_mutex> g(mu); auto* x = S(s); if (x->capture) return done(__func__, 900); x->capture = 1; x->cid = next_cid++; x->graph = new Graph; x->mode = m; return cudaSuccess; }
E Err cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* g_) { std::lock_guard<std::recursive_mutex> g(mu); auto* x = S(s); int e = hit(__func__); if (x->capture == 0) return done(__func__, 400); if (x->capture == 2 && !e) e = 901; x->capture = 0; x->cid = 0; if (e) { *g_ = nullptr; return done(__func__, e); } *g_ = (cudaGraph_t)x->graph; return cudaSuccess; }
E Err cudaStreamIsCapturing(cudaStream_t s, cudaStreamCaptureStatus* st) { std::lock_guard<std::recursive_mutex> g(mu); *st = (cudaStreamCaptureStatus)S(s)->capture; return cudaSuccess; }
E Err cudaStreamGetCaptureInfo(cudaStream_t s, cudaStreamCaptureStatus* st, unsigned long long* id, cudaGraph_t* gr, const cudaGraphNode_t** d, const cudaGraphEdgeData** ed, size_t* n) { std::lock_guard<std::recursive_mutex> g(mu); auto* x = S(s); *st = (cudaStreamCaptureStatus)x->capture; if (id) *id = x->cid; if (gr) *gr = (cudaGraph_t)x->graph; if (d) *d = nullptr; if (ed) *ed = nullptr; if (n) *n = 0; return cudaSuccess; }
E Err cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* m) { int t = tmode; tmode = *m; *m = (cudaStreamCaptureMode)t; return cudaSuccess; }
E Err cudaGraphGetNodes(cudaGraph_t g, cudaGraphNode_t*, size_t* n) { *n = ((Graph*)g)->nodes.size(); return cudaSuccess; }
E Err cudaGraphInstantiateWithFlags(cudaGraphExec_t* e, cudaGraph_t g, unsigned long long) { IN; *e = (cudaGraphExec_t) new Graph(*(Graph*)g); return cudaSuccess; }
E Err cudaGraphDestroy(cudaGraph_t g) { delete (Graph*)g; return cudaSuccess; }
E Err cudaGraphExecDestroy(cudaGraphExec_t e) { IN; delete (Graph*)e; return cudaSuccess; }
E Err cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s) { IN; for (auto& n : ((Graph*)e)->nodes) n.run(); return cudaSuccess; }
// kernels
E void** __cudaRegisterFatBinary(void* p) { return (void**)malloc(8); }
E void __cudaRegisterFatBinaryEnd(void**) {}
E void __cudaUnregisterFatBinary(void**) {}
E void __cudaRegisterFunction(void**, const char*, char*, const char*, int, void*, void*, void*, void*, int*) {}
E void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
E unsigned __cudaPushCallConfiguration(dim3, dim3, size_t, struct CUstream_st*) { return 0; }
E Err __cudaPopCallConfiguration(dim3*, dim3*, size_t*, void* s) { *(void**)s = nullptr; return cudaSuccess; }
static Err kernel(cudaStream_t s) { if (int e = hit("kernel")) return done("kernel", e); return enqueue(s, [] { kernels++; }); }
E Err cudaLaunchKernel(const void*, dim3, dim3, void**, size_t, cudaStream_t s) { return kernel(s); }
E Err __cudaLaunchKernel(void*, dim3, dim3, void**, size_t, cudaStream_t s) { return kernel(s); }
E Err __cudaGetKernel(void** k, const void* f) { *k = (void*)f; return cudaSuccess; }
E Err cudaLaunchKernelExC(const cudaLaunchConfig_t* c, const void*, void**) { return kernel(c->stream); }
E Err cudaFuncGetAttributes(cudaFuncAttributes* a, const void*) { memset(a, 0, sizeof *a); a->maxThreadsPerBlock = 1024; a->binaryVersion = 87; a->ptxVersion = 87; a->numRegs = 32; return cudaSuccess; }
E Err cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }
E Err cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* n, const void*, int, size_t, unsigned) { *n = 2; return cudaSuccess; }
E Err cudaGetDriverEntryPointByVersion(const char* n, void** f, unsigned, unsigned long long, cudaDriverEntryPointQueryResult* r) { *f = nullptr; if (r) *r = cudaDriverEntryPointSymbolNotFound; return cudaSuccess; }
E Err cudaProfilerStart() { return cudaSuccess; }
E Err cudaProfilerStop() { return cudaSuccess; }
