import org.codelibs.opensearch.runner.OpenSearchRunner;

/** One OpenSearch node on loopback: its folder and its port are the arguments. Ends with its process. */
class Node {
    public static void main(String[] arguments) throws Exception {
        OpenSearchRunner runner = new OpenSearchRunner();
        runner.onBuild((number, settings) -> {
            settings.put("network.host", "127.0.0.1");
            settings.put("transport.port", "0");
            settings.put("http.port", arguments[1]);
        });
        runner.build(OpenSearchRunner.newConfigs().basePath(arguments[0]).numOfNode(1));
        Thread.currentThread().join();
    }
}
